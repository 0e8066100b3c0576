//! Any message to a server of `wsloop.1`: nothing panics, what is read is no more than what is
//! there, and its words are again what they were when they are written and read once more.

use wsloop::proto::topics::{MAX_NUMBER, MAX_POSITION, TopicCommand, TopicHeader, Verb};

/// Panics when a message is read wrongly.
pub fn check(message: &[u8]) {
    let command = match TopicCommand::parse(message) {
        Ok(command) => command,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!((1..=MAX_NUMBER).contains(&command.number));
    match &command.verb {
        Verb::Subscribe { audience, facility, since } => {
            let words = since.iter().map(|(channel, position)| channel.len() + position.len());
            assert!(audience.len() + facility.len() + words.sum::<usize>() <= message.len());
            assert!(since.iter().all(|(_, position)| position.len() <= MAX_POSITION));
            again(audience, facility);
        }
        Verb::Unsubscribe { audience, facility } => again(audience, facility),
        Verb::Publish { audience, facility, payload } => {
            assert!(message.ends_with(payload));
            again(audience, facility);
        }
        Verb::Ping => {}
    }
}

/// What the server writes of a facility is read as that facility.
fn again(audience: &str, facility: &str) {
    let header = TopicHeader::Gap(audience, facility, "-").to_string();
    let words: Vec<&str> = header.split(' ').collect();
    assert_eq!((words.len(), words[0], words[3]), (4, "gap", "-"), "{header:?}");
    let command = format!("unsubscribe 1 {} {}", words[1], words[2]);
    match TopicCommand::parse(command.as_bytes()).map(|command| command.verb) {
        Ok(Verb::Unsubscribe { facility: read, .. }) => assert_eq!(read, facility),
        other => panic!("{command:?} is read as {other:?}"),
    }
}
