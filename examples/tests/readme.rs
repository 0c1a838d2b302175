//! What the READMEs say of the examples is so.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fs::{read_dir, read_to_string};

#[test]
fn the_code_of_the_readme_is_what_is_compiled() {
    let (_, block) = include_str!("../../README.md").split_once("```rust\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let (_, main) = include_str!("../readme.rs").split_once("async fn main() -> Result<(), Error> {\n").unwrap();
    // What `main` returns at its end is not in the README.
    let main = main.strip_suffix("    Ok(())\n}\n").unwrap();
    let mut compiled = main.lines().map(|line| line.strip_prefix("    ").unwrap_or(line));
    for line in block.lines() {
        assert_eq!(compiled.next(), Some(line), "left: examples/readme.rs, right: README.md");
    }
    assert_eq!(compiled.next(), None, "examples/readme.rs goes on where the code of README.md ends");
}

#[test]
fn every_example_says_how_to_run_it_and_stands_in_the_list() {
    let mut seen = 0;
    for entry in read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let source = read_to_string(&path).unwrap();
        let mut document = source.lines().take_while(|line| line.starts_with("//!"));
        assert!(document.any(|line| line.contains(&format!("cargo run --bin {name}`"))), "{name}: how is it run?");
        let row = format!("| [`{name}`]({name}.rs) |");
        assert!(include_str!("../README.md").contains(&row), "{name} is not in the list");
        seen += 1;
    }
    assert_eq!(seen, include_str!("../README.md").matches(".rs) |").count(), "the list has what is not there");
}
