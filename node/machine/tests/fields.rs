//! Which fields, verbs and values there are in each version of entries and rows. An entry of a version may have what stands in its list and nothing
//! else: an older program would drop it without a word.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use quorate_machine::FORMAT_VERSION;

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// `Type tag = "1" what: Type`, for every field that prost writes, and the values of its enumerations.
fn fields(source: &str) -> BTreeSet<String> {
    let (mut of, mut attribute, mut found) = (String::new(), None::<String>, BTreeSet::new());
    for line in source.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let declared = line.strip_suffix(" {").and_then(|line| {
            ["pub struct ", "pub enum ", "pub(crate) struct "]
                .iter()
                .find_map(|start| line.strip_prefix(start))
        });
        if let Some(name) = declared {
            of = name.to_owned();
        } else if line.starts_with("#[prost(") || attribute.as_ref().is_some_and(|text| !text.ends_with(")]"))
        {
            let text = attribute.take().unwrap_or_default() + line;
            attribute = Some(text);
        } else if let Some(attribute) = attribute.take() {
            found.insert(format!("{of} {attribute} {line}"));
        } else if line
            .split_once(" = ")
            .is_some_and(|(_, value)| value.trim_end_matches(',').parse::<i32>().is_ok())
        {
            found.insert(format!("{of} {line}"));
        }
    }
    found
}

#[test]
fn what_a_version_has_is_written_down() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(at("src/command"))
        .expect("the commands")
        .map(|e| e.expect("a file").path())
        .collect();
    files.extend(["src/tables/row.rs", "src/reply.rs", "src/message.rs"].map(at));
    let found: BTreeSet<String> = files
        .iter()
        .flat_map(|file| fields(&std::fs::read_to_string(file).expect("a source file")))
        .collect();
    let written: String = found.iter().map(|field| format!("{field}\n")).collect();
    let path = at(&format!("tests/golden/v{FORMAT_VERSION}.fields"));
    if std::env::var("QUORATE_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&path, &written).expect("the file can be written");
    }
    let kept = std::fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(
        written, kept,
        "left: what there is; right: what version {FORMAT_VERSION} has. Once that version was released, what is new needs the next one"
    );
}

#[test]
fn a_new_field_a_new_verb_and_a_new_value_would_be_seen() {
    let source = "pub struct A {\n    /// Says.\n    #[prost(uint32, tag = \"1\")]\n    pub b: u32,\n}\npub enum C {\n    D = 1,\n}\n";
    let found: Vec<String> = fields(source).into_iter().collect();
    assert_eq!(found, ["A #[prost(uint32, tag = \"1\")] pub b: u32,", "C D = 1,"]);
}
