//! `quorate man`: the manual pages, one a verb.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use super::Failure;
use super::help::{self, EXAMPLES};
use super::output::{print_bytes_line, print_line};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  Read the page of a verb:
    quorate man queue create | man -l -
  Install all pages; `man quorate-publish` has one then:
    quorate man --dir ~/.local/share/man/man1
")]
pub(super) struct Args {
    /// The verb whose page is printed [default: the page of the command itself].
    #[arg(conflicts_with = "dir")]
    verb: Vec<String>,
    /// Write the pages of all verbs into this directory, which is made if need be.
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut command = help::command().disable_help_subcommand(true).help_template("{about}");
    command.build();
    if let Some(dir) = &args.dir {
        let unwritable = |error| {
            let what = format!("the pages cannot be written to {}: {error}", dir.display());
            Failure::new(what, "give --dir a directory that you may write to")
        };
        let written =
            std::fs::create_dir_all(dir).and_then(|()| write_all(&command, dir)).map_err(unwritable)?;
        return print_line(&format!("{written} pages written to {}", dir.display()));
    }
    let mut of = &command;
    for word in &args.verb {
        of = of.find_subcommand(word).ok_or_else(|| {
            let what = format!("there is no verb {word:?} in `{}`", of.get_bin_name().unwrap_or("quorate"));
            Failure::usage(what, "`quorate help` lists the verbs")
        })?;
    }
    let page = page(of).map_err(|error| Failure::new(format!("the page cannot be made: {error}"), ""))?;
    print_bytes_line(page.trim_ascii_end())
}

/// Writes the page of a command and those below it. Returns how many.
fn write_all(command: &Command, dir: &Path) -> io::Result<usize> {
    std::fs::write(dir.join(Man::new(command.clone()).get_filename()), page(command)?)?;
    command.get_subcommands().try_fold(1, |written, verb| Ok(written + write_all(verb, dir)?))
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).manual("Quorate");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    page.extend_from_slice(examples(&after).as_bytes());
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// The examples of a help text: sentences as text, commands as they are typed. What follows an empty line is text again.
fn examples(after_help: &str) -> String {
    let (examples, rest) = after_help.split_once("\n\n").unwrap_or((after_help, ""));
    let mut text = ".SH EXAMPLES\n".to_owned();
    let mut typed = false;
    for line in examples.lines().skip_while(|line| line.starts_with(EXAMPLES.trim_end())) {
        let command = line.strip_prefix("    ");
        // Writing to a text cannot fail.
        let _ = match (typed, command) {
            (false, Some(_)) => writeln!(text, ".RS 4\n.nf"),
            (true, None) => writeln!(text, ".fi\n.RE"),
            _ => Ok(()),
        };
        typed = command.is_some();
        let _ = match command {
            Some(command) => writeln!(text, "{}", escaped(command)),
            None => writeln!(text, ".PP\n{}", escaped(line.trim_start())),
        };
    }
    if typed {
        text.push_str(".fi\n.RE\n");
    }
    if !rest.is_empty() {
        text.push_str(".SH NOTES\n");
    }
    rest.lines().for_each(|line| text.push_str(&format!(".PP\n{}\n", escaped(line))));
    text
}

/// A line that the formatter takes as it is.
fn escaped(line: &str) -> String {
    format!(
        "\\&{}",
        line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_kept_from_the_formatter() {
        let text = examples("Examples:\n  A queue:\n    quorate publish q 'a' \\\n      --key .k\n\nNote.\n");
        let expected = ".SH EXAMPLES\n.PP\n\\&A queue:\n.RS 4\n.nf\n\\&quorate publish q \\(aqa\\(aq \\e\n\\&  \\-\\-key .k\n\
                        .fi\n.RE\n.SH NOTES\n.PP\n\\&Note.\n";
        assert_eq!(text, expected);
    }
}
