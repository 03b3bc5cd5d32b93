//! Tells the program its version: with the commit it is built from, where that is known.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Hex digits of a commit that a version shows.
const SHORT: usize = 7;

fn main() -> io::Result<()> {
    let mut told =
        String::from("cargo::rerun-if-changed=build.rs\ncargo::rerun-if-env-changed=PULSE_COMMIT\n");
    let package = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let given = env::var("PULSE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let repository = Repository::of(&PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()));
    let commit = match (given, repository) {
        (Some(commit), _) if !is_commit(&commit) => {
            told += "cargo::error=PULSE_COMMIT is no commit: give its name in full, or leave it out\n";
            None
        }
        (Some(commit), _) => Some(commit),
        (None, Some(repository)) => {
            for file in repository.moves() {
                told += &format!("cargo::rerun-if-changed={}\n", file.display());
            }
            repository.commit().filter(|commit| is_commit(commit))
        }
        (None, None) => None,
    };
    let commit = commit.map(|commit| format!("+{}", &commit[..SHORT])).unwrap_or_default();
    told += &format!("cargo::rustc-env=PULSE_VERSION={package}{commit}\n");
    io::stdout().write_all(told.as_bytes())
}

fn is_commit(text: &str) -> bool {
    text.len() >= SHORT && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The package's own Git repository, read as files: where it is built there may be no `git`.
struct Repository {
    /// What is this working tree's own.
    own: PathBuf,
    /// What all working trees share.
    common: PathBuf,
    /// What HEAD says.
    head: String,
}

impl Repository {
    fn of(package: &Path) -> Option<Self> {
        let git = package.join(".git");
        // Of a further working tree it is a file that says where its directory is.
        let own = match fs::read_to_string(&git) {
            Ok(file) => package.join(file.strip_prefix("gitdir:")?.trim()),
            Err(_) => git,
        };
        let head = fs::read_to_string(own.join("HEAD")).ok()?.trim().to_owned();
        let common = fs::read_to_string(own.join("commondir"));
        let common = common.map_or_else(|_| own.clone(), |common| own.join(common.trim()));
        Some(Self { own, common, head })
    }

    fn branch(&self) -> Option<&str> {
        self.head.strip_prefix("ref:").map(str::trim)
    }

    fn commit(&self) -> Option<String> {
        let Some(branch) = self.branch() else { return Some(self.head.clone()) };
        let loose = fs::read_to_string(self.common.join(branch)).ok().map(|commit| commit.trim().to_owned());
        loose.or_else(|| {
            let packed = fs::read_to_string(self.common.join("packed-refs")).ok()?;
            let commit = packed.lines().find_map(|line| line.strip_suffix(branch)?.strip_suffix(' '));
            commit.map(str::to_owned)
        })
    }

    /// The files that change when HEAD moves. Of a file that is not there, cargo would believe that it always does.
    fn moves(&self) -> Vec<PathBuf> {
        let loose = self.branch().map(|branch| self.common.join(branch)).filter(|file| file.exists());
        let branch = loose.unwrap_or_else(|| self.common.join("packed-refs"));
        let files = [self.own.join("HEAD"), self.own.join("logs/HEAD"), branch];
        files.into_iter().filter(|file| file.exists()).collect()
    }
}
