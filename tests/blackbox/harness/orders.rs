//! JSON orders of many lengths, the same in every run.

use std::fmt::Write as _;

/// What the main job publishes.
pub const COUNT: usize = 100_000;

/// One order; no two numbers give the same, and none has a line break.
pub fn order(number: u64) -> String {
    let mut draw = Draw(number);
    let mut text = format!(
        r#"{{"order":{number},"customer":"c-{:05}","total_cents":{},"items":["#,
        draw.below(50_000),
        draw.below(1_000_000)
    );
    for item in 0..=draw.below(5) {
        let comma = if item == 0 { "" } else { "," };
        let (sku, quantity) = (draw.below(1_000_000), 1 + draw.below(9));
        write!(text, r#"{comma}{{"sku":"S{sku:06}","quantity":{quantity}}}"#)
            .expect("a string takes anything");
    }
    let note = "für Zoë — leave it at the door ".repeat(usize::try_from(draw.below(6)).expect("less than 6"));
    write!(text, r#"],"note":"{}"}}"#, note.trim_end()).expect("a string takes anything");
    text
}

/// Orders 1 to `count`, one a line.
pub fn file(count: usize) -> String {
    (1..=count as u64).map(|number| order(number) + "\n").collect()
}

/// SplitMix64: numbers that follow from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[test]
fn orders_differ_in_text_and_length() {
    let orders: std::collections::BTreeSet<String> = (1..=1000).map(order).collect();
    let lengths: std::collections::BTreeSet<usize> = orders.iter().map(String::len).collect();
    assert_eq!(orders.len(), 1000);
    assert!(lengths.len() > 50, "{} lengths", lengths.len());
    assert!(orders.iter().all(|order| serde_json::from_str::<serde_json::Value>(order).is_ok()));
}
