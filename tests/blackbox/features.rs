//! `docs/features.md` does what it says: its commands run as written, and print what stands below them.

use std::fs;

use crate::architecture::root;
use crate::harness::Cluster;
use crate::harness::pages::{bin, blocks};

const PAGE: &str = "docs/features.md";

#[test]
fn every_feature_shows_what_the_page_says() {
    let page = fs::read_to_string(root().join(PAGE)).expect(PAGE);
    let blocks = blocks(&page);
    assert!(blocks.len() >= 10 && blocks.iter().all(|block| !block.prints.is_empty()), "blocks that print");
    let cluster = Cluster::start(3, &[]);
    let bin = bin(cluster.dir());
    let wrong: Vec<String> =
        blocks.iter().filter_map(|block| block.run(PAGE, &cluster.endpoints(), &bin)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What a row of the table names is there: a command of a block, or a test.
#[test]
fn every_row_of_the_table_names_what_is_run() {
    let page = fs::read_to_string(root().join(PAGE)).expect(PAGE);
    let commands: Vec<String> = blocks(&page)
        .iter()
        .flat_map(|block| block.commands.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let (_, table) = page.split_once("| | shown by |\n|---|---|\n").expect("the table");
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 50, "{} rows", rows.len());
    let is_run = |row: &str| {
        let quoted: Vec<String> =
            row.split('`').skip(1).step_by(2).map(|one| one.replace("\\|", "|")).collect();
        match &quoted[..] {
            [command] => commands.iter().any(|one| one == command),
            [file, name] => {
                let source = fs::read_to_string(root().join(file)).unwrap_or_default();
                let test = source.split_once(&format!("fn {name}("));
                test.is_some_and(|(before, _)| {
                    before.trim_end_matches("async ").trim_end().ends_with("test]")
                })
            }
            _ => false,
        }
    };
    let missing: Vec<&str> = rows.into_iter().filter(|row| !is_run(row)).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
