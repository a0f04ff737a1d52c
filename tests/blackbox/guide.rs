//! `docs/guide.md` does what it says: its commands run as written, its Rust is that of examples, its manifest names what they are built with.

use std::fs;

use crate::architecture::root;
use crate::examples::{all, built};
use crate::harness::Dev;
use crate::harness::pages::{Fenced, bin, blocks, fenced};

const PAGE: &str = "docs/guide.md";
/// What runs in the first terminal.
const SERVER: &str = "cargo build --release\ntarget/release/quorate dev";
/// How the guide calls an example.
const CALL: &str = "cargo run -q -p quorate-client --example ";

fn page() -> String {
    fs::read_to_string(root().join(PAGE)).expect(PAGE)
}

/// Two things are different from what the page says: `dev` takes ports that are free and keeps nothing, and the examples are those that are built.
#[test]
fn the_guide_runs_as_written() {
    let mut blocks = blocks(&page());
    assert_eq!(blocks.remove(0).commands, SERVER, "the first commands start the cluster");
    assert!(blocks.len() >= 8, "{} blocks of commands", blocks.len());
    for block in &mut blocks {
        for call in block.commands.clone().lines().filter(|line| line.starts_with(CALL)) {
            let program = built(call.trim_start_matches(CALL));
            block.commands = block.commands.replace(call, &format!("'{}'", program.display()));
        }
        assert!(!block.commands.contains("cargo "), "cargo runs examples only: {}", block.commands);
    }
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let dev = Dev::start(3, &["--ephemeral"], scratch.path());
    let bin = bin(scratch.path());
    let wrong: Vec<String> =
        blocks.iter().filter_map(|block| block.run(PAGE, &dev.endpoints, &bin)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Lines without what stands before and after them; empty ones do not count.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_rust_of_the_guide_and_the_readme_is_that_of_the_examples() {
    let examples = all();
    let is_there = |block: &Fenced| {
        let text = block.lines.join("\n");
        let wanted = lines(&text);
        let has = |source: &str| lines(source).windows(wanted.len()).any(|some| some == wanted);
        !wanted.is_empty() && examples.iter().any(|example| has(&example.source))
    };
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for (name, page, blocks) in [(PAGE, page(), 8), ("README.md", readme, 3)] {
        let rust: Vec<Fenced> = fenced(&page).into_iter().filter(|block| block.language == "rust").collect();
        assert!(rust.len() >= blocks, "{name}: {} blocks of Rust", rust.len());
        let strange: Vec<String> = rust
            .iter()
            .filter(|block| !is_there(block))
            .map(|block| format!("line {}: {}", block.line, block.lines.join("\n")))
            .collect();
        assert!(strange.is_empty(), "{name}: no example has this:\n{}", strange.join("\n\n"));
    }
}

/// A block of another kind would be looked at by nobody.
#[test]
fn every_block_of_the_guide_is_of_a_kind_that_is_checked() {
    let kinds = ["rust", "sh", "text", "toml"];
    let strange: Vec<usize> = fenced(&page())
        .iter()
        .filter(|block| !kinds.contains(&block.language.as_str()))
        .map(|block| block.line)
        .collect();
    assert!(strange.is_empty(), "{PAGE}: rust, sh, text or toml, at the lines {strange:?}");
}

#[test]
fn the_manifest_of_the_guide_names_what_the_examples_are_built_with() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("the root's Cargo.toml");
    let ours: toml::Table = text.parse().expect("a manifest");
    let ours = &ours["workspace"]["dependencies"];
    let blocks = fenced(&page());
    let block = blocks.iter().find(|block| block.language == "toml").expect("a manifest in the guide");
    let theirs: toml::Table = block.lines.join("\n").parse().expect("a manifest");
    let theirs = theirs["dependencies"].as_table().expect("dependencies");
    let version = |of: &toml::Value| of.as_str().or_else(|| of.get("version")?.as_str()).map(str::to_owned);
    for (name, wanted) in theirs {
        match wanted.get("path").and_then(toml::Value::as_str) {
            Some(path) => assert!(path.ends_with(ours[name.as_str()]["path"].as_str().expect("a member"))),
            None => assert_eq!(version(wanted), version(&ours[name.as_str()]), "the version of {name}"),
        }
    }
    assert!(theirs.contains_key("quorate-client") && theirs.len() > 3, "{theirs:?}");
}
