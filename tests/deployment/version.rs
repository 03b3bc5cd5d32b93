//! `build.rs`: which commit a version names, and when cargo asks again.

use crate::shell::new_directory;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The build script, and a place for packages.
struct Script {
    directory: PathBuf,
}

impl Script {
    fn compile() -> Self {
        let directory = new_directory();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
        let mut compiler = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"));
        compiler.args(["--edition=2024", "-o"]).arg(directory.join("script")).arg(source);
        assert!(compiler.status().expect("rustc runs").success());
        Self { directory }
    }

    fn package(&self, name: &str) -> PathBuf {
        let package = self.directory.join(name);
        fs::create_dir(&package).expect("our own directory");
        package
    }

    /// What it tells cargo: the version, and the other lines.
    fn run(&self, package: &Path, commit: Option<&str>) -> (String, Vec<String>) {
        let mut script = Command::new(self.directory.join("script"));
        // Without a `PATH`, there is no git.
        script.env_clear().env("CARGO_MANIFEST_DIR", package).env("CARGO_PKG_VERSION", "0.2.0");
        let output = script.envs(commit.map(|commit| ("PULSE_COMMIT", commit))).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8(output.stdout).expect("UTF-8");
        let (versions, rest): (Vec<_>, Vec<_>) =
            told.lines().map(str::to_owned).partition(|line| line.starts_with("cargo::rustc-env="));
        let [version] = &versions[..] else { panic!("one version: {told}") };
        (version.trim_start_matches("cargo::rustc-env=PULSE_VERSION=").to_owned(), rest)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").args(identity).args(arguments).current_dir(directory).output();
    let output = output.expect("git runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A version with the short form of the commit that is checked out.
fn of_head(package: &Path) -> String {
    format!("0.2.0+{}", &git(package, &["rev-parse", "HEAD"])[..7])
}

#[test]
fn a_version_names_its_commit_where_that_is_known() {
    let script = Script::compile();
    let plain = script.package("plain");
    let version = |package: &Path, commit| script.run(package, commit).0;
    assert_eq!(version(&plain, None), "0.2.0", "sources alone");
    assert_eq!(version(&plain, Some("")), "0.2.0");
    assert_eq!(version(&plain, Some(COMMIT)), "0.2.0+0123456");
    for wrong in ["main", "012345", "0123456-dirty"] {
        let (version, told) = script.run(&plain, Some(wrong));
        assert_eq!(version, "0.2.0");
        assert!(told.iter().any(|line| line.starts_with("cargo::error=PULSE_COMMIT")), "{wrong}: {told:?}");
    }
    let package = script.package("repository");
    git(&package, &["init", "--quiet"]);
    assert_eq!(version(&package, None), "0.2.0", "nothing committed yet");
    let commit = || git(&package, &["commit", "--quiet", "--allow-empty", "--message", "x"]);
    commit();
    assert_eq!(version(&package, None), of_head(&package));
    assert_eq!(version(&package, Some(COMMIT)), "0.2.0+0123456", "what is given counts");
    git(&package, &["pack-refs", "--all"]);
    assert_eq!(version(&package, None), of_head(&package), "packed");
    commit();
    assert_eq!(version(&package, None), of_head(&package), "packed, and newer");
    git(&package, &["worktree", "add", "--quiet", "../worktree"]);
    let worktree = script.directory.join("worktree");
    git(&worktree, &["commit", "--quiet", "--allow-empty", "--message", "y"]);
    assert_eq!(version(&worktree, None), of_head(&worktree), "another working tree");
    assert_ne!(of_head(&worktree), of_head(&package));
    git(&package, &["checkout", "--quiet", "--detach", "HEAD"]);
    assert_eq!(version(&package, None), of_head(&package), "no branch");
}

/// Too often would build the job again for every test.
#[test]
fn cargo_asks_again_when_head_moves_and_only_then() {
    let script = Script::compile();
    let package = script.package("repository");
    git(&package, &["init", "--quiet"]);
    for (step, arguments) in [
        ("a commit", &["commit", "--quiet", "--allow-empty", "--message", "x"][..]),
        ("packed references", &["pack-refs", "--all"]),
        ("a commit behind packed references", &["commit", "--quiet", "--allow-empty", "--message", "y"]),
        ("another branch", &["checkout", "--quiet", "-b", "other"]),
        ("a commit's own checkout", &["checkout", "--quiet", "--detach", "HEAD"]),
    ] {
        let before = watched(&script, &package);
        git(&package, arguments);
        let after = watched(&script, &package);
        assert!(after.iter().all(|(_, content)| content.is_some()), "{step}: {after:?}");
        assert_ne!(before, after, "{step}");
    }
    assert_eq!(watched(&script, &package), watched(&script, &package));
}

/// The files that cargo watches, with what is in them.
fn watched(script: &Script, package: &Path) -> Vec<(String, Option<String>)> {
    let (_, told) = script.run(package, None);
    let files = told.iter().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed=/"));
    files.map(|file| (file.to_owned(), fs::read_to_string(format!("/{file}")).ok())).collect()
}
