//! The bytes of the log and of the tables. They never change: what was written must be read for ever.
//!
//! A failure prints the bytes found. Committed bytes change only with a new version of their format.

use tetryx_protocol::envelope::EnvelopeError;
use tetryx_state::command::{Command, CommandError, FEATURE_LEVEL, MAGIC, SCHEMA};
use tetryx_state::records::{Record, ReplyRecord};
use tetryx_state::{Reply, query};

use crate::fixture::{World, create_cache, hex, new_path, pin, register_token, unhex, upsert_member};
use crate::samples::{command_name, commands, records, replies};

macro_rules! goldens {
    ($($name:literal,)*) => {
        const GOLDENS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../golden/", $name, ".hex"))),)*];
    };
}

goldens! {
    "command-advance-epoch",
    "command-check-state",
    "command-configure-cache",
    "command-create-cache",
    "command-create-invite",
    "command-delete-path",
    "command-destroy-cache",
    "command-drain-member",
    "command-expire-paths",
    "command-init-cluster",
    "command-note-accesses",
    "command-pin-path",
    "command-pin-path-until",
    "command-publish-paths",
    "command-put-maintenance",
    "command-put-mission",
    "command-put-satellite",
    "command-put-station",
    "command-redeem-invite",
    "command-refresh-elements",
    "command-register-token",
    "command-register-token-2",
    "command-remove-maintenance",
    "command-remove-member",
    "command-remove-mission",
    "command-remove-satellite",
    "command-remove-station",
    "command-revoke-invite",
    "command-revoke-token",
    "command-set-feature-level",
    "command-unpin-path",
    "command-update-member",
    "command-upsert-member",
    "record-audit",
    "record-cache",
    "record-check",
    "record-client",
    "record-clock",
    "record-cluster",
    "record-elements",
    "record-invite",
    "record-member",
    "record-member-2",
    "record-member-removed",
    "record-mission",
    "record-nar",
    "record-path",
    "record-path-2",
    "record-reply",
    "record-satellite",
    "record-station",
    "record-token",
    "record-token-2",
}

const REPLIES: &str = include_str!("../golden/replies.hex");
const STATE_HASH: &str = include_str!("../golden/state-hash.hex");

fn golden(name: &str) -> Vec<u8> {
    let (_, text) = GOLDENS
        .iter()
        .find(|(of, _)| *of == name)
        .expect("every sample has a golden file");
    unhex(text)
}

#[test]
fn the_bytes_of_every_command_are_as_committed() {
    let mut wrong = Vec::new();
    for command in commands() {
        let name = command_name(&command.body);
        if command.encode() != golden(name) {
            wrong.push(format!("{name}.hex {}", hex(&command.encode())));
        }
    }
    assert!(
        wrong.is_empty(),
        "commands are encoded otherwise than committed:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn committed_bytes_of_every_command_are_read() {
    for command in commands() {
        let read = Command::decode(&golden(command_name(&command.body))).expect("committed bytes are read");
        assert_eq!(read, command);
    }
}

#[test]
fn the_bytes_of_every_record_are_as_committed() {
    let mut wrong = Vec::new();
    for (name, bytes, _) in records() {
        if bytes != golden(name) {
            wrong.push(format!("{name}.hex {}", hex(&bytes)));
        }
    }
    assert!(
        wrong.is_empty(),
        "records are encoded otherwise than committed:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn committed_bytes_of_every_record_are_read() {
    for (name, _, is_same) in records() {
        assert!(is_same(&golden(name)), "{name} is read as something else");
    }
}

#[test]
fn every_golden_file_has_a_sample() {
    assert_eq!(commands().len() + records().len(), GOLDENS.len());
}

#[test]
fn the_bytes_of_every_reply_are_as_committed() {
    let line = |(name, reply): &(String, Reply)| {
        format!("{name} {}\n", hex(&ReplyRecord { reply: reply.clone() }.encode()))
    };
    let found: String = replies().iter().map(line).collect();
    assert!(
        found == REPLIES,
        "replies are encoded otherwise than committed:\n{found}"
    );
    for (line, (_, reply)) in REPLIES.lines().zip(replies()) {
        let (_, bytes) = line.split_once(' ').expect("a name and bytes");
        assert_eq!(ReplyRecord::decode(b"", &unhex(bytes)), Ok(ReplyRecord { reply }));
    }
}

#[test]
fn a_fixed_log_leads_to_the_committed_state() {
    let mut world = World::with_cache();
    world.done(upsert_member(1, "north"));
    world.publish([new_path("glibc", &[]), new_path("hello", &["glibc"])]);
    world.done(pin("hello"));
    world.done(register_token(1));
    world.refused(create_cache("main"));
    let found = query::state_hash(&world.tables).unwrap().to_string();
    assert_eq!(
        found,
        STATE_HASH.trim(),
        "a log that was applied before leads to another state now"
    );
}

#[test]
fn a_command_for_a_newer_reader_needs_an_upgrade() {
    let bytes = tetryx_protocol::envelope::seal(MAGIC, SCHEMA + 1, SCHEMA + 1, b"of the future");
    let error = Command::decode(&bytes).unwrap_err();
    assert!(matches!(
        error,
        CommandError::NeedsUpgrade(EnvelopeError::NeedsUpgrade { .. })
    ));
    let text =
        "this log entry was written for a newer version; upgrade this node, it keeps serving what it has";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_node_of_an_older_level_reads_what_that_level_knew_and_asks_for_an_upgrade_otherwise() {
    for command in commands() {
        let (bytes, needs) = (command.encode(), u32::from(command.body.min_reader()));
        for level in 1..=FEATURE_LEVEL {
            let read = Command::decode_at(level, &bytes);
            if needs <= level {
                assert_eq!(read.expect("this level knew it"), command, "level {level}");
            } else {
                assert!(
                    matches!(read, Err(CommandError::NeedsUpgrade(_))),
                    "level {level}: {read:?}"
                );
            }
        }
    }
}

#[test]
fn a_command_written_for_a_level_is_left_alone_below_it() {
    let command = commands().remove(0);
    let bytes = command.encode_for(FEATURE_LEVEL + 1);
    assert!(matches!(
        Command::decode(&bytes),
        Err(CommandError::NeedsUpgrade(_))
    ));
    let read = Command::decode_at(FEATURE_LEVEL + 1, &bytes);
    assert_eq!(read.expect("the level is right"), command);
}

#[test]
fn a_newer_command_that_an_older_reader_understands_is_read() {
    let command = commands().remove(0);
    let bytes = command.encode();
    let payload = &bytes[tetryx_protocol::envelope::HEADER_LEN..];
    let newer = tetryx_protocol::envelope::seal(MAGIC, SCHEMA + 1, 1, payload);
    assert_eq!(
        Command::decode(&newer).expect("the reader is new enough"),
        command
    );
}

#[test]
fn damaged_commands_are_told_apart() {
    let bytes = commands().remove(0).encode();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(
        Command::decode(&flipped),
        Err(CommandError::Envelope(_))
    ));
    assert!(matches!(
        Command::decode(&bytes[..bytes.len() - 1]),
        Err(CommandError::Envelope(_))
    ));
    let payload = &bytes[tetryx_protocol::envelope::HEADER_LEN..];
    let seal = |payload: &[u8]| tetryx_protocol::envelope::seal(MAGIC, SCHEMA, 1, payload);
    let longer = seal(&[payload, b"xy"].concat());
    assert!(matches!(
        Command::decode(&longer),
        Err(CommandError::Trailing { excess: 2 })
    ));
    assert!(matches!(
        Command::decode(&seal(b"nonsense")),
        Err(CommandError::Payload(_))
    ));
}
