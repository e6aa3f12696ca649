// SPDX-License-Identifier: Apache-2.0
//! The commands that talk to a broker, as a script uses them: what they print, what they say, how they end.

use crate::process::{LONG, Node, TestDir, polylog, serve};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// One object a line.
    fn json_lines(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A broker and its command line.
struct Cli {
    node: Node,
    dir: TestDir,
}

impl Cli {
    fn new() -> Cli {
        let dir = TestDir::new();
        Cli { node: Node::start(&dir.data()), dir }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = polylog();
        command.args(line.split_whitespace()).env("POLYLOG_SERVER", self.node.kafka.to_string());
        command
    }

    /// Runs a command line of words.
    fn run(&self, line: &str) -> Done {
        self.run_with(line, "")
    }

    fn run_with(&self, line: &str, input: &str) -> Done {
        finish(self.command(line), input)
    }

    /// Names of topics are all that the id of a topic hides behind.
    fn topics(&self) -> Vec<String> {
        let list = self.run("topic list --json").json();
        list["topics"].as_array().unwrap().iter().map(|topic| topic["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn finish(mut command: Command, input: &str) -> Done {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command that ends early reads no more.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn topics_are_made_listed_described_and_deleted() {
    let cli = Cli::new();
    let made = cli.run("topic create orders --partitions 3 --config retention.ms=3600000");
    assert_eq!((made.code, made.out.as_str(), made.err.as_str()), (0, "", "made: orders (3 partitions)\n"));
    let made = cli.run("topic create payments --json").json();
    assert_eq!(made["topics"][0]["name"], "payments");
    assert_eq!(made["topics"][0]["partitions"], 1);
    assert_eq!(made["topics"][0]["created"], true);
    assert_eq!(made["topics"][0]["id"].as_str().unwrap().len(), 22);

    let again = cli.run("topic create orders");
    assert_eq!((again.code, again.out.as_str()), (1, ""));
    assert!(again.err.starts_with("polylog: topic \"orders\": TOPIC_ALREADY_EXISTS"), "{}", again.err);
    assert!(again.err.contains("--if-not-exists"), "{}", again.err);
    let again = cli.run("topic create orders refunds --if-not-exists");
    assert_eq!((again.code, again.err.as_str()), (0, "exists: orders (3 partitions)\nmade: refunds (1 partition)\n"));
    let wrong = cli.run("topic create bad/name good --config retention.ms=1000");
    assert_eq!(wrong.code, 1);
    assert!(
        wrong.err.contains("made: good") && wrong.err.contains("\"bad/name\": INVALID_TOPIC_EXCEPTION"),
        "{}",
        wrong.err
    );
    let wrong = cli.run("topic create other --config retention.md=1");
    assert!(
        wrong.code == 1 && wrong.err.contains("INVALID_CONFIG: Unknown topic config name: retention.md"),
        "{}",
        wrong.err
    );

    let listed = "TOPIC     PARTITIONS  REPLICAS\n\
                  good               1         1\n\
                  orders             3         1\n\
                  payments           1         1\n\
                  refunds            1         1\n";
    assert_eq!(cli.run("topic list").ok(), listed);
    let list = cli.run("topic list --json").json();
    let orders = &list["topics"][1];
    assert_eq!(
        *orders,
        json!({"name": "orders", "id": orders["id"], "partitions": 3, "replication_factor": 1, "internal": false})
    );

    cli.run_with("produce orders --partition 1", "a\nb\n").ok();
    // One batch: 61 bytes of header, and 8 for each record of one letter.
    let described = "topic     orders\n\
                     id        ID\n\
                     size      77 B\n\
                     settings  retention.ms=3600000\n\n\
                     PARTITION  LEADER  START  END  RECORDS  SIZE\n\
                     \u{20}       0       0      0    0        0   0 B\n\
                     \u{20}       1       0      0    2        2  77 B\n\
                     \u{20}       2       0      0    0        0   0 B\n";
    let id = orders["id"].as_str().unwrap();
    assert_eq!(cli.run("topic describe orders").ok().replace(id, "ID"), described);
    let described = cli.run("topic describe orders payments --json").json();
    let partition = json!({"partition": 1, "leader": 0, "replicas": [0], "in_sync": [0], "start_offset": 0,
                           "end_offset": 2, "size_bytes": 77});
    assert_eq!(described["topics"][0]["partitions"][1], partition);
    assert_eq!(described["topics"][0]["settings"], json!({"retention.ms": "3600000"}));
    assert_eq!(described["topics"][0]["size_bytes"], 77);
    assert_eq!(described["topics"][1]["name"], "payments");

    let missing = cli.run("topic describe ordrs");
    assert_eq!(
        (missing.code, missing.err.as_str()),
        (3, "polylog: there is no topic \"ordrs\"; did you mean \"orders\"?\n")
    );
    let missing = cli.run("topic describe zzzzzzzzzzzz");
    assert_eq!(
        (missing.code, missing.err.as_str()),
        (3, "polylog: there is no topic \"zzzzzzzzzzzz\"; `polylog topic list` shows those there are\n")
    );

    let unasked = cli.run("topic delete orders");
    assert_eq!(unasked.code, 2);
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    assert_eq!(cli.run("topic delete good orderz --yes").code, 3);
    assert_eq!(cli.topics(), ["good", "orders", "payments", "refunds"], "nothing is deleted when a name is wrong");
    assert_eq!(cli.run("topic delete orders good --yes --json").json(), json!({"deleted": ["orders", "good"]}));
    assert_eq!(cli.topics(), ["payments", "refunds"]);
}

#[test]
fn topics_are_altered_and_trimmed() {
    let cli = Cli::new();
    cli.run("topic create t --partitions 2 --config max.message.bytes=5000").ok();
    let altered =
        cli.run("topic alter t --partitions 3 --config retention.ms=1000000 --delete-config max.message.bytes");
    assert_eq!((altered.code, altered.out.as_str(), altered.err.as_str()), (0, "", "altered: t\n"));
    let altered = cli.run("topic alter t --config retention.bytes=4096 --json").json();
    assert_eq!(altered["topics"][0]["settings"], json!({"retention.ms": "1000000", "retention.bytes": "4096"}));
    assert_eq!(altered["topics"][0]["partitions"].as_array().unwrap().len(), 3);
    cli.run("topic alter t --delete-config retention.bytes --delete-config retention.ms").ok();
    for (line, code, why) in [
        ("topic alter t", 2, "nothing to change"),
        ("topic alter s --partitions 3", 3, "there is no topic \"s\""),
        ("topic alter t --partitions 2", 1, "INVALID_PARTITIONS"),
        ("topic alter t --config retention.ms=soon", 1, "INVALID_CONFIG"),
        ("topic alter t --config retention.md=1", 1, "Unknown topic config name: retention.md"),
        ("topic alter t --config retention.ms", 2, "NAME=VALUE"),
    ] {
        let refused = cli.run(line);
        assert!(refused.code == code && refused.err.contains(why), "{line}: {refused:?}");
    }

    cli.run("topic alter t --config retention.ms=-1").ok();
    let records: String = (0..10)
        .map(|number| {
            format!("{{\"value\": \"{number}\", \"timestamp_ms\": {}}}\n", 1_790_000_000_000_i64 + 1000 * number)
        })
        .collect();
    cli.run_with("produce t --partition 0 --input json", &records).ok();
    cli.run_with("produce t --partition 1 --input json", &records).ok();
    let unasked = cli.run("topic trim t --before 4");
    assert!(unasked.code == 2 && unasked.err.contains("Delete 8 records of t?"), "{}", unasked.err);
    let trimmed = cli.run("topic trim t --before 4 --partition 1 --yes");
    assert_eq!((trimmed.code, trimmed.out.as_str(), trimmed.err.as_str()), (0, "", "trimmed: t-1 begins at 4\n"));
    assert_eq!(cli.run("consume t --partition 1").ok(), "4\n5\n6\n7\n8\n9\n");
    let trimmed = cli.run("topic trim t --before 2026-09-21T14:13:27Z --yes --json").json();
    let partition = |partition: i32, start_offset: i64, deleted: i64| json!({"partition": partition, "start_offset": start_offset, "deleted": deleted});
    assert_eq!(
        trimmed,
        json!({"topic": "t", "partitions": [partition(0, 7, 7), partition(1, 7, 3), partition(2, 0, 0)]})
    );
    assert_eq!(cli.run("consume t").ok(), "7\n8\n9\n7\n8\n9\n");
    let gone = cli.run("consume t --partition 0 --from 3");
    assert_eq!(
        (gone.out.as_str(), gone.err.as_str()),
        ("7\n8\n9\n", "polylog: t-0 has offsets 7 to 10 (not included)\n")
    );
    cli.run("topic trim t --before latest --yes").ok();
    assert_eq!(cli.run("consume t").ok(), "");
    assert_eq!(cli.run("topic trim t --before soon --yes").code, 2);
    assert_eq!(cli.run("topic trim t --before 1 --partition 9 --yes").code, 3);
}

#[test]
fn a_group_whose_place_is_trimmed_away_goes_on_where_the_topic_begins() {
    let cli = Cli::new();
    cli.run("topic create t").ok();
    cli.run_with("produce t", "a\nb\nc\nd\n").ok();
    assert_eq!(cli.run("consume t --group g --count 1").ok(), "a\n");
    cli.run("topic trim t --before 3 --yes").ok();
    let consumed = cli.run("consume t --group g");
    assert_eq!(consumed.err, "polylog: t-0: records before offset 3 are gone; goes on there (from 1)\n");
    assert_eq!(consumed.ok(), "d\n");
}

#[test]
fn lines_come_back_as_they_were_written() {
    let cli = Cli::new();
    cli.run("topic create t").ok();
    let lines: String = (0..20_000).map(|number| format!("line number {number}\n")).collect();
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let written = cli.run_with(&format!("produce t -z {compression}"), &lines);
        assert_eq!(written.code, 0, "{}", written.err);
        assert!(written.err.starts_with("20000 records written to t, partition 0, offsets "), "{}", written.err);
        assert_eq!(cli.run("consume t --from -20000").ok(), lines, "{compression}");
    }
    assert_eq!(cli.run("consume t").ok(), lines.repeat(5));
    // A last line without an end, an empty line, and a line of the largest size that a topic takes by default and one more.
    cli.run_with("produce t", "\nno end").ok();
    assert_eq!(cli.run("consume t --from -2").ok(), "\nno end\n");
}

#[test]
fn keys_headers_nulls_and_times_make_the_round_trip() {
    let cli = Cli::new();
    cli.run("topic create t --partitions 4").ok();
    let input = "a:1\nb:\nc:NULL\nNULL:4\nkey:with:more\n";
    let summary = cli.run_with("produce t -K : --null NULL -H source=test -H empty= --json", input).json();
    assert_eq!(summary["records"], 5);
    assert_eq!(summary["topic"], "t");

    let mut shown: Vec<String> =
        cli.run("consume t --format %k=%v[%h]\\n --null NIL").ok().lines().map(str::to_owned).collect();
    shown.sort();
    let headers = "[source=test,empty=]";
    assert_eq!(shown, ["NIL=4", "a=1", "b=", "c=NIL", "key=with:more"].map(|pair| format!("{pair}{headers}")));
    // Other clients put these keys there, too: murmur2 modulo 4.
    for (key, partition) in [("a", 0), ("b", 0), ("c", 2), ("key", 1)] {
        let found = cli.run(&format!("consume t -p {partition} -f %k\\n")).ok();
        assert!(found.lines().any(|line| line == key), "{key} is not in {partition}: {found}");
    }

    let records = cli.run("consume t --json").json_lines();
    let of = |key: &str| records.iter().find(|record| record["key"] == key).unwrap();
    assert_eq!(of("c")["value"], Value::Null);
    assert_eq!(of("b")["value"], "");
    assert_eq!(of("a")["headers"], json!([{"name": "source", "value": "test"}, {"name": "empty", "value": ""}]));
    assert_eq!(of("a")["topic"], "t");
    assert!(of("a")["timestamp"].as_str().unwrap().ends_with('Z'));

    // Bytes that are no text, from one topic to another.
    cli.run("topic create u --partitions 4 --config retention.ms=-1").ok();
    let given = json!({"key_base64": "/wA=", "value_base64": "AP8=", "partition": 2, "timestamp_ms": 1_700_000_000_000_i64,
                       "headers": [{"name": "h", "value": null}]});
    cli.run_with("produce u --input json", &format!("{given}\n")).ok();
    let first = cli.run("consume u --json").ok();
    cli.run_with("produce u --input json", &first).ok();
    let both = cli.run("consume u --json").json_lines();
    assert_eq!(both.len(), 2);
    for (offset, record) in both.iter().enumerate() {
        assert_eq!(
            *record,
            json!({"topic": "u", "partition": 2, "offset": offset, "timestamp": "2023-11-14T22:13:20.000Z",
                   "timestamp_ms": 1_700_000_000_000_i64, "key": null, "key_base64": "/wA=", "value": null,
                   "value_base64": "AP8=", "headers": [{"name": "h", "value": null}]})
        );
    }
}

#[test]
fn consume_begins_and_ends_where_it_is_told() {
    let cli = Cli::new();
    cli.run("topic create t --config retention.ms=-1").ok();
    // A second apart, by their own time.
    let records: String = (0..10)
        .map(|number| {
            format!("{{\"value\": \"{number}\", \"timestamp_ms\": {}}}\n", 1_700_000_000_000_i64 + 1000 * number)
        })
        .collect();
    cli.run_with("produce t --input json", &records).ok();
    let consume = |arguments: &str| cli.run(&format!("consume t {arguments}")).ok().replace('\n', "");
    assert_eq!(consume(""), "0123456789");
    assert_eq!(consume("--from 3 --until 6"), "345");
    assert_eq!(consume("--from -3"), "789");
    assert_eq!(consume("--from 4 --count 2"), "45");
    assert_eq!(consume("--from latest"), "");
    assert_eq!(consume("--from 2023-11-14T22:13:25Z"), "56789");
    assert_eq!(consume("--from 2023-11-14T22:13:22Z --until 2023-11-14T22:13:24Z"), "23");
    assert_eq!(consume("--from 10m"), "", "all are older than ten minutes");
    assert_eq!(consume("--until -8"), "01");
    assert_eq!(consume("--from 8 --until 50"), "89", "what may come one day is not waited for");
    let beyond = cli.run("consume t --from 50");
    assert_eq!((beyond.code, beyond.out.as_str()), (0, ""));
    assert_eq!(beyond.err, "polylog: t-0 has offsets 0 to 10 (not included)\n");

    let wrong = cli.run("consume t --from soon");
    assert!(wrong.code == 2 && wrong.err.contains("earliest, latest, an offset"), "{}", wrong.err);
    assert_eq!(cli.run("consume t --format %q").code, 2);
    assert_eq!(cli.run("consume t --partition 1").code, 3);
    assert_eq!(cli.run("consume s").code, 3);
}

#[test]
fn following_goes_on_until_it_is_interrupted() {
    let cli = Cli::new();
    cli.run("topic create t").ok();
    let mut command = cli.command("consume t --follow");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for round in ["one", "two"] {
        cli.run_with("produce t", round).ok();
        assert_eq!(lines.next().unwrap().unwrap(), round);
    }
    interrupt(&child);
    assert!(lines.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn typed_lines_are_written_as_they_are_typed() {
    let cli = Cli::new();
    cli.run("topic create t").ok();
    let mut follow = cli.command("consume t --follow").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut command = cli.command("produce t");
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for line in ["first", "second"] {
        writeln!(stdin, "{line}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), line, "while the input goes on");
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    // This is no terminal: whoever wrote into it had not come to an end, and what he wrote last may not have been read.
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("2 records written to t"), "{said}");
    assert!(said.contains("interrupted: line 2 is the last that was read"), "{said}");
    interrupt(&follow);
    assert_eq!(follow.wait().unwrap().code(), Some(0));
}

#[test]
fn what_is_refused_names_its_line() {
    let cli = Cli::new();
    cli.run("topic create small --config max.message.bytes=2000").ok();
    let large = "x".repeat(3000);
    let input = format!("{}{large}\nafter\n", "short\n".repeat(500));
    let refused = cli.run_with("produce small", &input);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("line 501 was refused by partition 0: MESSAGE_TOO_LARGE"), "{}", refused.err);
    assert!(refused.err.contains("500 records written to small"), "{}", refused.err);
    assert_eq!(
        cli.run("consume small").ok(),
        "short\n".repeat(500),
        "what was too large together is written in pieces"
    );

    // Several batches under way, each too large.
    cli.run("topic create narrow --config max.message.bytes=100000").ok();
    let many: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    cli.run_with("produce narrow", &many).ok();
    assert!(cli.run("consume narrow").ok() == many, "in order, each once");

    let wrong = cli.run_with("produce small -K :", "a:1\nb2\nc:3\n");
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("polylog: line 2: the key separator is not in it"), "{}", wrong.err);
    let wrong = cli.run_with("produce small --input json", "{\"value\":\"a\"}\n{\"vlaue\":\"b\"}\n");
    assert!(wrong.code == 1 && wrong.err.contains("polylog: line 2: unknown field `vlaue`"), "{}", wrong.err);
    let wrong = cli.run_with("produce small --partition 7", "a\n");
    assert!(wrong.code == 3 && wrong.err.contains("line 1: there is no partition 7"), "{}", wrong.err);
    let wrong = cli.run_with("produce smal", "a\n");
    assert!(wrong.code == 3 && wrong.err.contains("did you mean \"small\"?"), "{}", wrong.err);
    assert_eq!(cli.run("produce small --file no-such-file").code, 1);

    cli.run("topic create keyed --config cleanup.policy=compact").ok();
    let wrong = cli.run_with("produce keyed", "no key\n");
    assert!(
        wrong.code == 1 && wrong.err.contains("line 1 was refused by partition 0: INVALID_RECORD"),
        "{}",
        wrong.err
    );
}

#[test]
fn a_group_goes_on_where_it_stopped() {
    let cli = Cli::new();
    cli.run("topic create t --partitions 3").ok();
    for partition in 0..3 {
        let lines: String = (0..4).map(|number| format!("{partition}{number}\n")).collect();
        cli.run_with(&format!("produce t --partition {partition}"), &lines).ok();
    }
    assert_eq!(cli.run("group list").ok(), "GROUP  STATE  TYPE\n");
    let consume = |arguments: &str| {
        let mut lines: Vec<String> =
            cli.run(&format!("consume t --group g {arguments}")).ok().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let mut all = consume("--count 5");
    assert_eq!(all.len(), 5);
    all.extend(consume(""));
    all.sort();
    let every: Vec<String> =
        (0..3).flat_map(|partition| (0..4).map(move |number| format!("{partition}{number}"))).collect();
    assert_eq!(all, every, "nothing twice, nothing left out");
    assert_eq!(consume(""), Vec::<String>::new());
    cli.run_with("produce t --partition 1", "new\n").ok();

    let described = "group        g\n\
                     state        Empty\n\
                     protocol     consumer\n\
                     coordinator  0\n\n\
                     TOPIC  PARTITION  COMMITTED  END  LAG  MEMBER\n\
                     t              0          4    4    0  -\n\
                     t              1          4    5    1  -\n\
                     t              2          4    4    0  -\n";
    assert_eq!(cli.run("group describe g").ok(), described);
    let described = cli.run("group describe g --json").json();
    assert_eq!(described["groups"][0]["state"], "Empty");
    assert_eq!(
        described["groups"][0]["offsets"][1],
        json!({"topic": "t", "partition": 1, "committed_offset": 4, "end_offset": 5, "lag": 1, "member": null})
    );
    assert_eq!(consume(""), ["new"]);
    assert_eq!(consume("--from latest"), Vec::<String>::new(), "where something is committed it counts");

    // A group that begins at the end has committed where that was.
    assert_eq!(cli.run("consume t --group late --from latest").ok(), "");
    assert_eq!(cli.run("consume t --group beyond --from 50").ok(), "");
    cli.run_with("produce t --partition 2", "later\n").ok();
    assert_eq!(cli.run("consume t --group beyond").ok(), "later\n", "no place is committed that does not exist");
    cli.run("group delete beyond --yes").ok();
    assert_eq!(cli.run("consume t --group late --from latest").ok(), "later\n");

    assert_eq!(cli.run("group list").ok(), "GROUP  STATE  TYPE\ng      Empty  classic\nlate   Empty  classic\n");
    assert_eq!(
        cli.run("group list --json --state Empty").json()["groups"][1],
        json!({"group": "late", "state": "Empty", "type": "classic", "protocol_type": "consumer"})
    );
    assert_eq!(cli.run("group list --state stable,dead --json").json(), json!({"groups": []}));
    let missing = cli.run("group describe latr");
    assert_eq!(
        (missing.code, missing.err.as_str()),
        (3, "polylog: there is no group \"latr\"; did you mean \"late\"?\n")
    );
}

#[test]
fn what_a_group_has_committed_is_set_only_on_demand() {
    let cli = Cli::new();
    cli.run("topic create t --partitions 2 --config retention.ms=-1").ok();
    let records: String = (0..10)
        .map(|number| {
            format!("{{\"value\": \"{number}\", \"timestamp_ms\": {}}}\n", 1_700_000_000_000_i64 + 1000 * number)
        })
        .collect();
    cli.run_with("produce t --partition 0 --input json", &records).ok();
    cli.run_with("produce t --partition 1 --input json", &records).ok();
    cli.run("consume t --group g").ok();

    let dry = cli.run("group reset g --to-earliest");
    assert_eq!(dry.out, "TOPIC  PARTITION  FROM  TO\nt              0    10   0\nt              1    10   0\n");
    assert_eq!((dry.code, dry.err.as_str()), (0, "polylog: nothing was changed: --execute does it\n"));
    assert_eq!(cli.run("consume t --group g").ok(), "");

    let reset = |arguments: &str| {
        let done = cli.run(&format!("group reset g --execute --json {arguments}")).json();
        assert_eq!((done["group"].as_str(), done["executed"].as_bool()), (Some("g"), Some(true)));
        let offsets: Vec<(i64, i64)> = done["offsets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|offset| (offset["partition"].as_i64().unwrap(), offset["to_offset"].as_i64().unwrap()))
            .collect();
        offsets
    };
    assert_eq!(reset("--topic t:1 --shift-by -3"), [(1, 7)]);
    assert_eq!(cli.run("consume t --group g").ok(), "7\n8\n9\n");
    assert_eq!(reset("--to-offset 8"), [(0, 8), (1, 8)]);
    assert_eq!(reset("--to-time 2023-11-14T22:13:26Z"), [(0, 6), (1, 6)]);
    assert_eq!(reset("--by-duration 1h"), [(0, 10), (1, 10)]);
    assert_eq!(reset("--topic t --to-latest"), [(0, 10), (1, 10)]);
    assert_eq!(reset("--to-offset 99"), [(0, 10), (1, 10)], "there is no more");
    assert_eq!(reset("--to-earliest"), [(0, 0), (1, 0)]);
    assert_eq!(cli.run("consume t --group g").ok().lines().count(), 20);

    assert_eq!(cli.run("group reset g").code, 2, "to where?");
    assert_eq!(cli.run("group reset g --to-earliest --to-latest").code, 2);
    assert_eq!(cli.run("group reset g --to-earliest --topic u").code, 3);
    assert_eq!(cli.run("group reset g --to-earliest --topic t:5").code, 3);
    assert_eq!(cli.run("group reset h --to-earliest").code, 3);
    let new = cli.run("group reset h --topic t --to-latest --execute");
    assert!(new.code == 0 && new.err.contains("there is no group \"h\" yet"), "{new:?}");
    assert_eq!(cli.run("consume t --group h").ok(), "");

    assert_eq!(cli.run("group delete g").code, 2);
    assert_eq!(cli.run("group delete g h --yes --json").json(), json!({"deleted": ["g", "h"]}));
    assert_eq!(cli.run("group delete g --yes").code, 3);
}

#[test]
fn members_share_the_partitions_and_one_that_leaves_is_replaced() {
    let cli = Cli::new();
    cli.run("topic create t --partitions 4").ok();
    let start = || {
        let mut command = cli.command("consume t --group g --follow");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    };
    // What the group says of itself, once it is as it should be.
    let wait_for = |members: usize| {
        let deadline = Instant::now() + LONG;
        loop {
            let done = cli.run("group describe g --json");
            if done.code == 0 {
                let group = done.json()["groups"][0].clone();
                let assigned = |member: &Value| member["assigned"].as_array().is_some_and(|topics| !topics.is_empty());
                let found = group["members"].as_array().unwrap();
                if group["state"] == "Stable" && found.len() == members && found.iter().all(assigned) {
                    return group;
                }
            }
            assert!(Instant::now() < deadline, "the group never had {members} members");
        }
    };
    let (mut first, mut first_lines) = start();
    let group = wait_for(1);
    assert_eq!(group["members"][0]["assigned"], json!([{"topic": "t", "partitions": [0, 1, 2, 3]}]));
    assert_eq!(group["members"][0]["client"], "polylog-cli");
    let (mut second, mut second_lines) = start();
    let group = wait_for(2);
    let mut shares: Vec<String> =
        (0..2).map(|member| group["members"][member]["assigned"][0]["partitions"].to_string()).collect();
    shares.sort();
    assert_eq!(shares, ["[0,1]", "[2,3]"]);

    for partition in 0..4 {
        cli.run_with(&format!("produce t --partition {partition}"), &format!("from {partition}\n")).ok();
    }
    let mut taken: Vec<String> = (0..2).map(|_| first_lines.next().unwrap().unwrap()).collect();
    taken.extend((0..2).map(|_| second_lines.next().unwrap().unwrap()));
    taken.sort();
    assert_eq!(taken, ["from 0", "from 1", "from 2", "from 3"]);

    let refused = cli.run("group reset g --to-earliest --execute");
    assert!(refused.code == 1 && refused.err.contains("is in use (Stable, 2 members)"), "{}", refused.err);
    let refused = cli.run("group delete g --yes");
    assert!(refused.code == 1 && refused.err.contains("NON_EMPTY_GROUP"), "{}", refused.err);
    let described = cli.run("group describe g").ok();
    assert!(described.contains("protocol     consumer, range\n") && described.contains("t:0,1"), "{described}");

    interrupt(&first);
    assert!(first_lines.next().is_none());
    assert_eq!(first.wait().unwrap().code(), Some(0));
    wait_for(1);
    for partition in 0..4 {
        cli.run_with(&format!("produce t --partition {partition}"), &format!("then {partition}\n")).ok();
    }
    let mut taken: Vec<String> = (0..4).map(|_| second_lines.next().unwrap().unwrap()).collect();
    taken.sort();
    assert_eq!(taken, ["then 0", "then 1", "then 2", "then 3"], "nothing that the other had committed comes again");
    interrupt(&second);
    assert_eq!(second.wait().unwrap().code(), Some(0));
    let group = cli.run("group describe g --json").json()["groups"][0].clone();
    let lags: Vec<i64> =
        group["offsets"].as_array().unwrap().iter().map(|offset| offset["lag"].as_i64().unwrap()).collect();
    assert_eq!((group["state"].as_str(), lags), (Some("Empty"), vec![0; 4]));
}

#[test]
fn a_broker_that_is_killed_and_comes_back_costs_nothing_and_doubles_nothing() {
    let mut cli = Cli::new();
    let address = cli.node.kafka.to_string();
    cli.run("topic create t").ok();
    let mut follow = cli.command("consume t --group g --follow").stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut produce = cli.command("produce t");
    let mut produce = produce.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = produce.stdin.take().unwrap();
    const LINES: usize = 300_000;
    let writer = std::thread::spawn(move || {
        for number in 0..LINES {
            writeln!(stdin, "{number}").unwrap();
        }
    });
    // Batches are under way, and more come while nobody is there.
    assert_eq!(seen.next().unwrap().unwrap(), "0");
    cli.node.kill();
    let mut command = serve(&cli.dir.data());
    command.args(["--kafka", &address]);
    cli.node = Node::from(command);
    writer.join().unwrap();
    let written = produce.wait_with_output().unwrap();
    assert_eq!(written.status.code(), Some(0), "{}", String::from_utf8_lossy(&written.stderr));
    assert!(String::from_utf8(written.stderr).unwrap().starts_with("300000 records written to t"));
    let every: String = (0..LINES).map(|number| format!("{number}\n")).collect();
    assert!(cli.run("consume t").ok() == every, "each line once, in order");
    let last = (LINES - 1).to_string();
    assert!(seen.any(|line| line.unwrap() == last), "the reader has gone on, too");
    interrupt(&follow);
    assert_eq!(follow.wait().unwrap().code(), Some(0));
    assert_eq!(cli.run("consume t --group g").ok(), "");
}

#[test]
fn without_a_broker_it_is_said_where_one_was_looked_for() {
    let cli = Cli::new();
    let nobody = cli.run("topic list --server 127.0.0.1:1");
    assert_eq!((nobody.code, nobody.out.as_str()), (4, ""));
    assert!(nobody.err.starts_with("polylog: cannot reach a broker at 127.0.0.1:1: "), "{}", nobody.err);
    assert!(nobody.err.contains("POLYLOG_SERVER"), "{}", nobody.err);
    // Something is there, but it speaks HTTP.
    let other = cli.run(&format!("topic list --timeout 2s --server {}", cli.node.http));
    assert!([1, 4].contains(&other.code), "{other:?}");
    assert_eq!(cli.run("topic list --server no/host").code, 2);
    assert_eq!(cli.run("topic list --timeout 0").code, 2);
    assert_eq!(cli.run("topic lst").code, 2);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let cli = Cli::new();
    cli.run("topic create t").ok();
    let lines: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    cli.run_with("produce t", &lines).ok();
    let mut child = cli.command("consume t").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "0\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn completions_are_made_for_every_shell() {
    for (shell, words) in [("bash", "complete -F"), ("zsh", "#compdef polylog"), ("fish", "complete -c polylog")] {
        let script = finish(polylog_with(&["completions", shell]), "").ok();
        assert!(script.contains(words) && script.contains("describe"), "{shell}");
    }
    assert_eq!(finish(polylog_with(&["completions", "tcsh"]), "").code, 2);
}

fn polylog_with(arguments: &[&str]) -> Command {
    let mut command = polylog();
    command.args(arguments);
    command
}
