//! What holds in every state, said without saying how it comes about: a check of the model itself.

use std::collections::BTreeMap;

use quorate_machine::command::Order;
use quorate_model::naive::{At, Naive, Queue, Row, Sub};

/// How far positions and tokens of names ever were. It outlives what has the names.
#[derive(Default)]
pub struct Names {
    positions: BTreeMap<String, u64>,
    tokens: BTreeMap<(String, String), u64>,
}

impl Names {
    /// Whatever was deleted and made again: what a name gives out only grows.
    pub fn check(&mut self, naive: &Naive) -> Result<(), String> {
        for (name, queue) in &naive.queues {
            let last = queue.next_position() - 1;
            let was = self.positions.insert(name.clone(), last).unwrap_or(0);
            if last < was {
                return Err(format!("{name} was at {was}, and goes on from {last}"));
            }
            for (sub_name, sub) in &queue.subs {
                let key = (name.clone(), sub_name.clone());
                let was = self.tokens.insert(key, sub.last_token).unwrap_or(0);
                if sub.last_token < was {
                    return Err(format!(
                        "{name}/{sub_name} gave out {was}, and goes on from {}",
                        sub.last_token
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Nothing, or which rule is broken.
pub fn check(naive: &Naive) -> Result<(), String> {
    for (name, queue) in &naive.queues {
        for (sub_name, sub) in &queue.subs {
            let broken = |what: String| format!("{name}/{sub_name}: {what}");
            leases(naive, queue, sub).map_err(broken)?;
            order(sub).map_err(broken)?;
            parked(sub).map_err(broken)?;
            nothing_waits_in_vain(naive, queue, sub).map_err(broken)?;
        }
    }
    Ok(())
}

fn consumer_of(row: &Row) -> Option<u64> {
    match row.at {
        At::Leased { consumer, .. } => Some(consumer),
        _ => None,
    }
}

fn consumers<'a>(naive: &'a Naive, queue: &'a Queue, sub: &'a Sub) -> impl Iterator<Item = (u64, u32)> + 'a {
    let rows = naive.consumers.iter().filter(|(_, row)| (row.queue, row.sub) == (queue.id, sub.id));
    rows.map(|(id, row)| (*id, row.credit))
}

fn leases(naive: &Naive, queue: &Queue, sub: &Sub) -> Result<(), String> {
    if sub.rows.len() != queue.messages.len() {
        return Err("it has not looked at everything".into());
    }
    let mut tokens: Vec<u64> = Vec::new();
    for row in sub.open() {
        let At::Leased { consumer, token, .. } = row.at else { continue };
        if tokens.contains(&token) || token > sub.last_token {
            return Err(format!("the token {token} of {} is no other's, and was given", row.position));
        }
        tokens.push(token);
        let is_leaving = naive.leaving.get(&consumer) == Some(&(queue.id, sub.id));
        if !is_leaving && !consumers(naive, queue, sub).any(|(id, _)| id == consumer) {
            return Err(format!("{} is held by {consumer}, who is not attached", row.position));
        }
    }
    Ok(())
}

/// Whether `later` may not overtake `earlier`.
fn follows(sub: &Sub, earlier: &Row, later: &Row) -> bool {
    let is_same = match sub.order() {
        Order::Total => true,
        Order::Key => !later.key.is_empty() && earlier.key == later.key,
        _ => false,
    };
    is_same && earlier.position < later.position
}

fn order(sub: &Sub) -> Result<(), String> {
    let leased: Vec<&Row> = sub.open().filter(|row| consumer_of(row).is_some()).collect();
    for row in &leased {
        for other in sub.open().filter(|other| follows(sub, other, row)) {
            if matches!(other.at, At::Retrying { .. } | At::Parked { blocks: true }) {
                return Err(format!("{} is leased and {} before it waits", row.position, other.position));
            }
            if consumer_of(other).is_some_and(|holder| Some(holder) != consumer_of(row)) {
                return Err(format!("{} and {} have two holders", row.position, other.position));
            }
        }
        let of_key = leased.iter().filter(|other| other.key == row.key).count();
        if sub.order() == Order::Key && !row.key.is_empty() {
            let most = sub.settings.per_key_inflight as usize;
            if of_key > most {
                return Err(format!("{of_key} of one key are leased, and {most} is the most"));
            }
        }
    }
    Ok(())
}

fn parked(sub: &Sub) -> Result<(), String> {
    for key in &sub.parked_keys {
        let of_key = || sub.open().filter(|row| row.key == *key);
        if key.is_empty() || sub.order() != Order::Key {
            return Err(format!("{key:?} is parked and no key of it"));
        }
        let kinds = |row: &Row| matches!(row.at, At::Ready) && !sub.is_parked(row);
        if of_key().any(kinds) {
            return Err(format!("{key:?} is parked, and something of it ready"));
        }
    }
    Ok(())
}

/// What is on offer is offered to nobody, or nobody could take it.
fn nothing_waits_in_vain(naive: &Naive, queue: &Queue, sub: &Sub) -> Result<(), String> {
    // Who has not followed the subscription gets nothing.
    let free: Vec<u64> = consumers(naive, queue, sub)
        .filter(|(id, _)| !sub.following.contains_key(id))
        .filter(|(id, credit)| sub.held(*id).len() < *credit as usize)
        .map(|(id, _)| id)
        .collect();
    let active = consumers(naive, queue, sub).next();
    if naive.unassigned.contains(&(queue.id, sub.id)) {
        return Ok(()); // the next entry goes on
    }
    for row in sub.open().filter(|row| row.at == At::Ready) {
        let waits =
            |other: &Row| matches!(other.at, At::Ready | At::Retrying { .. } | At::Parked { blocks: true });
        let is_held_up = sub.open().any(|other| waits(other) && follows(sub, other, row));
        let holder = sub.open().filter(|other| !row.key.is_empty() && other.key == row.key);
        let holders: Vec<u64> = holder.filter_map(consumer_of).collect();
        let is_taken = match sub.order() {
            Order::Total => active.is_none_or(|(id, _)| !free.contains(&id)),
            Order::Key if !holders.is_empty() => {
                !free.contains(&holders[0]) || holders.len() >= sub.settings.per_key_inflight as usize
            }
            _ => free.is_empty(),
        };
        if !is_held_up && !is_taken && !sub.is_parked(row) && !sub.is_paused {
            return Err(format!("{} waits, and somebody could have it", row.position));
        }
    }
    Ok(())
}
