//! Changes the settings of a subscription, if nobody else has since they were read.

use quorate_client::wire::SubscriptionSettings;

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(cx: &Cx, queue: &str, name: &str, lease_ms: u64) -> Result<(), Answer> {
    let subs = cx.client.subscriptions(queue);
    let work = async {
        let listed = subs.list().await?;
        let Some(sub) = listed.into_iter().find(|sub| sub.name == name) else { return Ok(0) };
        let settings = SubscriptionSettings { lease_ms, ..sub.settings.unwrap_or_default() };
        subs.update(name, settings, sub.revision).await
    };
    cx.manage(queue, "update_subscription", work).await
}
