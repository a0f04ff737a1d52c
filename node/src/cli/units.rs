//! Durations, sizes and times as people write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_client::Start;

/// Reads `500ms`, `5s`, `7d`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|_| format!("{text:?} is no duration; write 500ms, 5s, 10m, 7d"))
}

/// Reads `FIRST..LAST`, two durations.
pub(super) fn duration_range(text: &str) -> Result<(Duration, Duration), String> {
    let (first, last) =
        text.split_once("..").ok_or_else(|| format!("{text:?} is no range of durations; write 1s..60s"))?;
    let (first, last) = (duration(first)?, duration(last)?);
    if first > last {
        return Err(format!("{text:?} falls: the first duration must not be longer than the second"));
    }
    Ok((first, last))
}

/// Reads a time such as `2026-12-24T18:00:00Z`.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339_weak(text)
        .map_err(|_| format!("{text:?} is no time; write 2026-12-24T18:00:00Z"))
}

/// Reads where a subscription begins: `earliest`, `latest`, a position, or a time.
pub(super) fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() => {
            number.parse().map(Start::Position).map_err(|e| format!("{text:?} is no position: {e}"))
        }
        other => time(other).map(Start::Time).map_err(|_| {
            format!("{text:?} is none of earliest, latest, a position, a time such as 2026-12-24T18:00:00Z")
        }),
    }
}

/// Reads `100`, `64KiB`, `10GiB`, also `1kB` and `1MB` in powers of ten; in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no size; write 100, 64KiB, 10GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(bad()),
    };
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is more bytes than can be counted"))
}

/// `1536` as `1.5 KiB`.
pub(super) fn bytes_for_people(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Milliseconds since 1970 as RFC 3339 with milliseconds.
pub(super) fn rfc3339(ms: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_millis(ms)) {
        // humantime writes years up to 9999.
        Some(time) if ms < 253_402_300_800_000 => humantime::format_rfc3339_millis(time).to_string(),
        _ => format!("{ms} ms since 1970"),
    }
}

/// `90500` ms as `1m 30s`.
pub(super) fn age(ms: u64) -> String {
    let coarse = if ms >= 1000 { ms - ms % 1000 } else { ms };
    humantime::format_duration(Duration::from_millis(coarse)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_ranges() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert!(duration("5").is_err() && duration("soon").is_err() && duration("-5s").is_err());
        assert_eq!(duration_range("1s..1m"), Ok((Duration::from_secs(1), Duration::from_secs(60))));
        assert!(duration_range("2s..1s").is_err() && duration_range("1s").is_err());
    }

    #[test]
    fn starts() {
        assert_eq!(start("earliest"), Ok(Start::Earliest));
        assert_eq!(start("latest"), Ok(Start::Latest));
        assert_eq!(start("17"), Ok(Start::Position(17)));
        let noon = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(start("2023-11-14T22:13:20Z"), Ok(Start::Time(noon)));
        assert!(start("").is_err() && start("-1").is_err() && start("99999999999999999999999").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(size("100"), Ok(100));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("10GiB"), Ok(10 << 30));
        assert_eq!(size("1kB"), Ok(1_000));
        for bad in ["", "KiB", "1.5KiB", "-1", "1XB", "99999999999TiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn for_people() {
        assert_eq!(bytes_for_people(1023), "1023 B");
        assert_eq!(bytes_for_people(1536), "1.5 KiB");
        assert_eq!(bytes_for_people(1 << 30), "1.0 GiB");
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(u64::MAX), format!("{} ms since 1970", u64::MAX));
        assert_eq!(age(90_500), "1m 30s");
    }
}
