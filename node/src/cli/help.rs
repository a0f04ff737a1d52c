//! The command line as a whole: how help is laid out, and when it is coloured.

use clap::builder::StyledStr;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{ColorChoice, Command, CommandFactory as _};

use super::Cli;
use super::output::is_plain;

/// What the examples of a help text begin with.
pub(super) const EXAMPLES: &str = "Examples:\n";

/// The verbs as the first help shows them: what one reaches for together stands together.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Servers", &["dev", "serve"]),
    ("Messages", &["publish", "route", "receive", "peek", "read", "parked", "delayed", "transact", "state"]),
    ("Queues", &["queue", "sub", "stat", "explain", "producers"]),
    ("The cluster", &["cluster", "bench"]),
    ("This command", &["completions", "man", "help"]),
];

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Green.on_default());

/// The command line, ready to read arguments.
pub(super) fn command() -> Command {
    let plain = is_plain();
    let command = Cli::command().styles(STYLES);
    let template =
        format!("{{about}}\n\n{{usage-heading}} {{usage}}\n\n{}{{options}}{{after-help}}", verbs(&command));
    let command = laid_out(command).help_template(template);
    command.color(if plain { ColorChoice::Never } else { ColorChoice::Auto })
}

/// The verbs in their groups, each with what it is for, and the heading of the options.
fn verbs(command: &Command) -> StyledStr {
    use std::fmt::Write as _;
    let (header, literal) = (STYLES.get_header(), STYLES.get_literal());
    let mut text = StyledStr::new();
    for (group, names) in GROUPS {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{header}{group}:{header:#}");
        for name in names {
            let about = command.find_subcommand(name).and_then(|verb| verb.get_about());
            let about = about.map_or_else(
                || "Show help, also of a verb: quorate help publish".into(),
                ToString::to_string,
            );
            let _ = writeln!(text, "  {literal}{name:<13}{literal:#}{about}");
        }
        let _ = writeln!(text);
    }
    let _ = writeln!(text, "{header}Options:{header:#}");
    text
}

/// Gives the heading of the examples the look of the others, everywhere.
fn laid_out(command: Command) -> Command {
    let (header, text) = (STYLES.get_header(), command.get_after_help().map(ToString::to_string));
    let command = match text.as_deref().and_then(|text| text.strip_prefix(EXAMPLES)) {
        Some(examples) => command.after_help(format!("{header}Examples:{header:#}\n{examples}")),
        None => command,
    };
    command.mut_subcommands(laid_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_verb_stands_in_one_group() {
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let command = Cli::command();
        let verbs = command.get_subcommands().map(Command::get_name).chain(["help"]).collect::<BTreeSet<_>>();
        assert_eq!(grouped.iter().copied().collect::<BTreeSet<_>>(), verbs);
        assert_eq!(grouped.len(), verbs.len(), "one group each");
    }
}
