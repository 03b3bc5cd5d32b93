//! The `Dockerfile` and what it is given. No Docker engine is needed: what it says is read, and the manifest is tried
//! without the files that the first stage does not have.

use crate::read;
use crate::shell::new_directory;
use std::fs;
use std::path::Path;
use std::process::Command;

const BUILD: &str = "cargo build --locked --release --package alpaca-pulse --no-default-features";

/// The instructions, with their continuation lines, by keyword.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", "");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parts = |line: &str| {
        let (keyword, rest) = line.split_once(' ').expect("a keyword and more");
        (keyword.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    lines.map(parts).collect()
}

/// The instructions of each stage, its `FROM` first.
fn stages() -> [Vec<(String, String)>; 3] {
    let all = instructions();
    let starts: Vec<usize> = (0..all.len()).filter(|&at| all[at].0 == "FROM").collect();
    let ends = starts.iter().skip(1).copied().chain([all.len()]);
    let stages: Vec<_> = starts.iter().zip(ends).map(|(&start, end)| all[start..end].to_vec()).collect();
    stages.try_into().expect("three stages")
}

/// What follows each occurrence of a keyword.
fn all<'a>(stage: &'a [(String, String)], keyword: &str) -> Vec<&'a str> {
    stage.iter().filter(|(name, _)| name == keyword).map(|(_, rest)| rest.as_str()).collect()
}

fn default_of(argument: &str) -> String {
    let arguments = instructions();
    let defaults = all(&arguments, "ARG");
    let default = defaults.iter().find_map(|default| default.strip_prefix(argument)?.strip_prefix('='));
    default.expect(argument).to_owned()
}

pub(crate) fn build_image() -> String {
    default_of("BUILD_IMAGE")
}

#[test]
fn base_images_are_arguments_with_pinned_defaults() {
    let froms = stages().map(|stage| stage[0].1.clone());
    assert_eq!(froms, ["${BUILD_IMAGE} AS dependencies", "dependencies AS build", "${RUNTIME_IMAGE}"]);
    let toolchain = read("rust-toolchain.toml");
    let version = toolchain.split('"').nth(1).expect("a channel");
    assert_eq!(build_image(), format!("rust:{version}-bookworm"));
    assert_eq!(default_of("RUNTIME_IMAGE"), "gcr.io/distroless/cc-debian12:nonroot");
}

#[test]
fn dependencies_are_built_before_the_source_is_there() {
    let [dependencies, build, _] = stages();
    let manifests = [
        "Cargo.toml Cargo.lock ./",
        "crates/account-reader/Cargo.toml crates/account-reader/",
        "crates/sandbox/Cargo.toml crates/sandbox/",
    ];
    assert_eq!(all(&dependencies, "COPY"), manifests);
    assert_eq!(
        all(&build, "COPY"),
        ["build.rs ./", "crates/account-reader/src crates/account-reader/src", "src src"]
    );
    // Known to cargo by its environment; in the first stage every commit would build all dependencies again.
    assert_eq!((all(&dependencies, "ARG").len(), all(&build, "ARG")), (0, vec!["PULSE_COMMIT="]));
    for stage in [&dependencies, &build] {
        let [run] = all(stage, "RUN")[..] else { panic!("one RUN: {stage:?}") };
        assert!(run.ends_with(&format!("&& {BUILD}")), "{run}");
    }
    // What cargo would otherwise take for built.
    assert!(
        all(&build, "RUN")[0].starts_with("touch crates/account-reader/src/lib.rs src/lib.rs src/main.rs &&")
    );
}

#[test]
fn the_last_stage_adds_the_binary_alone_and_is_not_root() {
    let [_, _, last] = stages();
    let rest: Vec<(&str, &str)> =
        last[1..].iter().map(|(keyword, rest)| (keyword.as_str(), rest.as_str())).collect();
    let expected = [
        ("COPY", "--from=build /pulse/target/release/pulse /pulse"),
        ("USER", "65532:65532"),
        ("ENTRYPOINT", r#"["/pulse"]"#),
        ("CMD", r#"["sync"]"#),
    ];
    assert_eq!(rest, expected);
    assert!(read("Cargo.toml").contains("\nstrip = true\n"), "the profile strips the binary");
}

#[test]
fn the_context_is_what_the_stages_copy() {
    let ignored = read(".dockerignore");
    let mut rules = ignored.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"));
    let allowed: Vec<&str> = rules.map(|rule| rule.strip_prefix('!').expect("an exception")).collect();
    let members =
        ["crates/account-reader/Cargo.toml", "crates/account-reader/src", "crates/sandbox/Cargo.toml"];
    assert_eq!(allowed, [&["Cargo.toml", "Cargo.lock", "build.rs", "src"], &members[..]].concat());
}

/// A benchmark, say, that the manifest names has no file there, and cargo would refuse to begin.
#[test]
fn the_manifest_is_enough_for_the_first_stage() {
    let directory = new_directory();
    for package in ["src", "crates/account-reader/src", "crates/sandbox/src"] {
        fs::create_dir_all(directory.join(package)).expect("a new directory");
        fs::write(directory.join(package).join("lib.rs"), "").expect("an empty crate");
    }
    fs::write(directory.join("src/main.rs"), "fn main() {}").expect("an empty program");
    for file in ["Cargo.toml", "Cargo.lock", "crates/account-reader/Cargo.toml", "crates/sandbox/Cargo.toml"]
    {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), directory.join(file)).expect(file);
    }
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--no-deps", "--format-version=1"])
        .current_dir(&directory)
        .output()
        .expect("cargo runs");
    let _ = fs::remove_dir_all(&directory);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
