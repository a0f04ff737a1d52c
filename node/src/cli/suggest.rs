//! Names that nobody knows: which one may be meant.

use std::time::Duration;

use super::Failure;
use super::options::Options;

/// Longest that the names are looked for: the command has failed already, and its user waits.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// Most names that are told.
const NAMES_MAX: usize = 3;

/// What a refusal does not know.
struct Unknown<'a> {
    kind: &'static str,
    name: &'a str,
    /// The command that lists what there is.
    list: String,
}

/// Adds to a refused name those that are like it, or where names are listed. The exit code stays.
pub(super) async fn meant(mut failure: Failure, options: &Options, queue: Option<&str>) -> Failure {
    let Some(unknown) = unknown(&failure, queue) else { return failure };
    let listed = tokio::time::timeout(LOOK_MAX, names(&unknown, options, queue)).await;
    let near = near(unknown.name, &listed.unwrap_or_default());
    if near.is_empty() {
        failure.action = match failure.action.as_str() {
            "" => format!("look at `{}`", unknown.list),
            action => format!("look at `{}`, or {action}", unknown.list),
        };
    } else {
        let quoted: Vec<String> = near.iter().map(|name| format!("{name:?}")).collect();
        failure.action = format!("correct the name; `{}` shows all", unknown.list);
        failure.ask(&format!("did you mean {}?", quoted.join(" or ")));
        failure.meant = near;
    }
    failure
}

/// What the refusal says is not known.
fn unknown<'a>(failure: &'a Failure, queue: Option<&str>) -> Option<Unknown<'a>> {
    let (kind, list) = match failure.reason.as_deref()? {
        "UNKNOWN_QUEUE" => ("queue", "quorate queue list".to_owned()),
        "UNKNOWN_SUBSCRIPTION" => ("subscription", format!("quorate sub list {}", queue?)),
        "UNKNOWN_MEMBER" => ("member", "quorate cluster status".to_owned()),
        _ => return None,
    };
    Some(Unknown { kind, name: failure.details.get(kind)?, list })
}

/// The names that there are. None if they cannot be had: the refusal is told anyway.
async fn names(unknown: &Unknown<'_>, options: &Options, queue: Option<&str>) -> Vec<String> {
    let Ok(client) = options.client_within(LOOK_MAX) else { return Vec::new() };
    match (unknown.kind, queue) {
        ("queue", _) => {
            let queues = client.queues().list().await.unwrap_or_default();
            queues.into_iter().map(|queue| queue.name).collect()
        }
        ("subscription", Some(queue)) => {
            let subs = client.subscriptions(queue).list().await.unwrap_or_default();
            subs.into_iter().map(|sub| sub.name).collect()
        }
        _ => {
            let members = client.cluster().members().await.unwrap_or_default();
            members.members.into_iter().map(|member| member.name).collect()
        }
    }
}

/// Names like this one, the likest first: a letter in three may be another, or it is the beginning of theirs.
fn near(name: &str, names: &[String]) -> Vec<String> {
    let asked = name.to_lowercase();
    let length = asked.chars().count();
    let mut found: Vec<(usize, &String)> = names
        .iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&asked, &other);
            let likes = distance <= (length / 3).max(1) && distance < length.min(other.chars().count());
            let begins = length >= 3 && other.starts_with(&asked);
            (likes || begins).then_some((distance, candidate))
        })
        .collect();
    found.sort();
    found.into_iter().take(NAMES_MAX).map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness() {
        let names = ["orders", "order-events", "payments", "q", "orders-2", "Orders"].map(str::to_owned);
        assert_eq!(near("ordres", &names), ["Orders", "orders"]);
        assert_eq!(near("orders-3", &names), ["orders-2", "Orders", "orders"]);
        assert_eq!(near("pay", &names), ["payments"]);
        for far in ["nowhere", "x", "", "paying"] {
            assert!(near(far, &names).is_empty(), "{far}");
        }
    }

    #[test]
    fn the_name_is_found_in_what_the_cluster_says() {
        let mut failure = Failure::new("whatever it says", "").because("UNKNOWN_QUEUE", ("queue", "ordres"));
        assert_eq!(unknown(&failure, None).map(|unknown| unknown.name), Some("ordres"));
        failure.ask("did you mean \"orders\"?");
        assert_eq!(failure.what, "whatever it says; did you mean \"orders\"? (UNKNOWN_QUEUE)");
        failure.details = Default::default();
        assert!(unknown(&failure, None).is_none(), "it does not say which");
        assert!(unknown(&Failure::new("there is no queue \"ordres\"", ""), None).is_none(), "no reason");
    }
}
