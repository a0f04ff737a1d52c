# Markdown tables from the lines of a comparison: medians, with the least and the greatest, and ratios of medians.

def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
  else (.[length / 2 - 1] + .[length / 2]) / 2 end;

# 1234567 as 1,234,567.
def thousands: tostring | [while(length > 0; .[:-3]) | .[-3:]] | reverse | join(",");

# Three digits, or all of the whole number.
def pretty:
  if . >= 100 then round | thousands
  elif . >= 10 then . * 10 | round / 10 | tostring
  else . * 100 | round / 100 | tostring end;

def cell: if length == 0 then "–" elif length == 1 then .[0] | pretty
  else "\(median | pretty) (\(min | pretty)–\(max | pretty))" end;

def row: "| " + join(" | ") + " |";

def ms: if . == null then null else . / 1000 end;

# What stands in the first table: a row of the measurement, its name, its unit, and whether more is better.
def figures: [
  { row: "publish-1k", name: "publish, 1 KiB, 16 producers × 256 in flight", unit: "msgs/s" },
  { row: "publish-100", name: "publish, 100 B, 16 × 256", unit: "msgs/s" },
  { row: "publish-16k", name: "publish, 16 KiB, 16 × 256", unit: "msgs/s" },
  { row: "pipeline", name: "publish, consume, ack, 1 KiB, 8 + 8, one queue", unit: "msgs/s" },
  { row: "pipeline", name: "… end to end p99, at most 20,000 waiting", unit: "ms", of: ["end_to_end_us", "p99"] },
  { row: "pipeline-2000", name: "the same at 2,000/s: end to end p50", unit: "ms", of: ["end_to_end_us", "p50"] },
  { row: "pipeline-2000", name: "… end to end p99", unit: "ms", of: ["end_to_end_us", "p99"] },
  { row: "one-in-flight", name: "publish, one in flight: confirm p50", unit: "ms", of: ["confirm_us", "p50"] },
  { row: "kill-leader", name: "gap seen when the leader's process is killed", unit: "ms", of: ["gap_ms"] },
  { row: "silent-leader", name: "gap seen when the leader's process is stopped", unit: "ms", of: ["gap_ms"] },
  { row: "drain", name: "a backlog is drained, 1 KiB, 8 consumers", unit: "msgs/s" }
];

def figure($of): if $of == null then .msgs_per_second elif $of == ["gap_ms"] then .gap_ms else getpath($of) | ms end;

def costs: [
  { row: "publish-1k", name: "published, 1 KiB" },
  { row: "publish-100", name: "published, 100 B" },
  { row: "publish-16k", name: "published, 16 KiB" },
  { row: "pipeline", name: "published, consumed, acknowledged, 1 KiB" },
  { row: "pipeline-2000", name: "the same at 2,000/s" },
  { row: "one-in-flight", name: "published, one in flight" },
  { row: "silent-leader", name: "gap seen when the leader's process is stopped", unit: "ms", of: ["gap_ms"] },
  { row: "drain", name: "consumed, acknowledged" }
];

# The lines that count: a run that failed or lost something has no rate.
def good($source; $row; $broker):
  map(select(.source == $source and .row == $row and .broker == $broker and .failed == null and .verified == true));

($peers | split(" ")) as $peers
| ($peers - ["quorate"]) as $rivals
| (if ($peers | index("quorate")) then $rivals else [] end) as $compared
| . as $lines
| ([$lines[].row] | unique) as $measured
| def table($rows; get; $last):
    $rows[] | select(.row | IN($measured[])) | . as $r
    | ([$peers[] | { key: ., value: (. as $peer | $lines | good("rivals"; $r.row; $peer) | map(get | numbers)) }] | from_entries)
      as $of
    | [$r.name + (if $r.unit then ", " + $r.unit else "" end)] + [$peers[] | $of[.] | cell]
      + [$compared[] as $rival | ($of.quorate | median) as $ours | ($of[$rival] | median) as $theirs
         | if $ours == null or $theirs == null or $theirs == 0 then "–" else ($ours / $theirs | pretty) + " ×" end]
      + (if $last then [$lines | good("bench"; $r.row; "quorate") | map(get | numbers) | cell] else [] end)
    | row;
  def head($first; $more):
    ([$first] + $peers + [$compared[] | "quorate : \(.)"] + $more) | row, (map("---") | row);
  ($peers | index("quorate") != null) as $check
| head("median (least–greatest)"; if $check then ["`quorate bench`"] else [] end),
  (figures[] as $f | table([$f]; figure($f.of); $check)),
  "",
  head("server CPU seconds per million messages"; []),
  (costs[] as $c | table([$c]; .cpu.server_seconds_per_million; false)),
  "",
  ($lines | map(select(.source == "rivals") | .cpu.foreign_cores | numbers) | median
    | if . == null then empty else "Other programs used \(pretty) cores meanwhile (median of all rows)." end),
  ($lines[] | select(.failed != null or .verified != true)
    | "\n* not counted: run \(.run), \(.broker), \(.row) (\(.source)): \(.failed // .error // "\(.missing // "some") messages missing")")
