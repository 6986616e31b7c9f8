//! That the documentation names commands as they are.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::Cli;

/// The README, the pages below `docs/`, and how to contribute.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    docs.chain(["README.md", "CONTRIBUTING.md"].map(|name| root.join(name))).collect()
}

/// What follows `cargo xtask` in `text`, up to the end of the line, of the code or of the command.
fn commands(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let followed = text.split("cargo xtask").skip(1).filter(|rest| rest.starts_with(' '));
    let command = |rest: &str| {
        let end = rest.find(['\n', '`', '>', '|', ';']).unwrap_or(rest.len());
        let command = rest[..end].split(" #").next().unwrap_or_default().trim();
        command.trim_end_matches(['.', ',', ')', '"']).to_owned()
    };
    followed.map(command).collect()
}

#[test]
fn every_command_in_the_docs_is_understood() {
    let mut understood = 0;
    for page in pages() {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            // A form, and not a command.
            if command.contains(['[', '…']) || command.starts_with(char::is_uppercase) {
                continue;
            }
            let words = command.split_whitespace().map(|word| word.trim_matches(['\'', '"']));
            let parsed = Cli::try_parse_from(["xtask"].into_iter().chain(words));
            match parsed.map_err(|error| (error.kind(), error.to_string())) {
                Ok(_) | Err((clap::error::ErrorKind::DisplayHelp, _)) => understood += 1,
                Err((_, error)) => panic!("{}: cargo xtask {command}\n{error}", page.display()),
            }
        }
    }
    assert!(understood > 50, "{understood} commands were found");
}

#[test]
fn commands_are_found_in_text_and_in_code() {
    let text = "`cargo xtask perf --quick` and\n```\ncargo xtask stress \\\n  -n 5   # five\n```\nnot cargo xtasks.";
    assert_eq!(commands(text), ["perf --quick", "stress    -n 5"]);
}
