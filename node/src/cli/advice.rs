//! What to do, in the words of the command line: the cluster knows fields, its user typed options.

use clap::ArgMatches;

use super::Failure;
use super::help;

/// What was typed.
pub(super) struct Typed<'a> {
    /// The verb, word by word.
    verb: Vec<&'a str>,
    /// What was given to it.
    pub(super) given: &'a ArgMatches,
}

impl<'a> Typed<'a> {
    pub(super) fn new(matches: &'a ArgMatches) -> Self {
        let (mut verb, mut given) = (Vec::new(), matches);
        while let Some((word, below)) = given.subcommand() {
            verb.push(word);
            given = below;
        }
        Self { verb, given }
    }

    /// The queue that the verb is about, if it names one.
    pub(super) fn queue(&self) -> Option<&'a str> {
        self.given.try_get_one::<String>("queue").ok().flatten().map(String::as_str)
    }

    /// The option or argument that became a field: `--lease` for `lease_ms`, `NAME` for `name`.
    fn word_for(&self, field: &str) -> Option<String> {
        let command = help::command();
        let verb = self.verb.iter().try_fold(&command, |command, word| command.find_subcommand(word))?;
        let named = |id: &str| field.starts_with(id) || id.starts_with(field);
        let typed = self.given.ids().map(clap::Id::as_str).filter(|id| named(id));
        let arg = typed.filter_map(|id| verb.get_arguments().find(|arg| arg.get_id() == id)).next()?;
        match arg.get_long() {
            Some(long) => Some(format!("--{long}")),
            None => Some(arg.get_id().as_str().to_uppercase()),
        }
    }
}

/// The same failure, with something to type.
pub(super) fn adapted(mut failure: Failure, typed: &Typed<'_>) -> Failure {
    let action = match failure.reason.as_deref() {
        Some("INVALID") => failure.details.get("field").and_then(|field| {
            let help = format!("`quorate {} --help` says what it takes", typed.verb.join(" "));
            Some(format!("correct {}; {help}", typed.word_for(field)?))
        }),
        Some("QUEUE_EXISTS") => failure.details.get("queue").map(|name| {
            format!("`quorate queue show {name}` shows them: change them with `quorate queue update`, or choose another name")
        }),
        Some("SUBSCRIPTION_EXISTS") => typed.queue().zip(failure.details.get("subscription")).map(|(queue, name)| {
            format!("`quorate sub show {queue} {name}` shows them: change them with `quorate sub update`, or choose another name")
        }),
        _ => None,
    };
    failure.action = action.unwrap_or(failure.action);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_as_the_options_that_they_were() {
        for (line, field, word) in [
            ("quorate queue create q --lease 1ms", "lease_ms", Some("--lease")),
            ("quorate queue create q --per-key-inflight 2", "per_key_inflight", Some("--per-key-inflight")),
            ("quorate queue create q --route a..b", "routes", Some("--route")),
            ("quorate queue create q --backoff 1s..40d", "backoff_last_ms", Some("--backoff")),
            ("quorate queue create a/b", "name", Some("NAME")),
            ("quorate queue create q", "moon", None),
        ] {
            let matches = help::command().try_get_matches_from(line.split(' ')).unwrap();
            assert_eq!(Typed::new(&matches).word_for(field).as_deref(), word, "{line}");
        }
    }
}
