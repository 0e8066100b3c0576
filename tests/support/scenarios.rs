//! What both brokers must do alike. A scenario is given a server that grants every option and
//! stores messages, and keeps to a facility of its own.

use wsloop::proto::ws::frame::Opcode;

use super::client::{Client, Event, frame_bytes, tcp, upgrade};
use super::{Wsloop, assert_all_equal};

/// The arguments that the server is to have, besides those of the broker.
pub const ARGS: [&str; 4] = ["--allow", "all", "--expire", "60"];

type Scenario = fn(&Wsloop);

/// Every scenario and its name.
const ALL: [(&str, Scenario); 11] = [
    ("a chat between two", chat),
    ("the stored message comes first", stored_message),
    ("only the last message is stored, for each channel", last_stored_message),
    ("own messages are withheld, each once", echo_rule),
    ("a burst of own messages is withheld whole", echo_rule_in_a_burst),
    ("every message of a burst, in order, once", burst),
    ("binary stays what it is", binary),
    ("options are not case-sensitive and have no values", options),
    ("a socket without options stays open and is told nothing", no_options),
    ("an empty message is none", empty_message),
    ("frames right behind the handshake, and the largest message", early_and_large),
];

/// Plays every scenario.
pub fn play_all(server: &Wsloop) {
    for (name, scenario) in ALL {
        eprintln!("scenario: {name}");
        scenario(server);
    }
}

fn chat(server: &Wsloop) {
    let path = "chat?subscribe-broadcast&publish-broadcast&echo";
    let (mut john, mut mary) = (server.connect(path), server.connect(path));
    john.send("Hello, everybody!");
    john.expect(&["Hello, everybody!"]);
    mary.expect(&["Hello, everybody!"]);
    mary.send("Grüß Gott 👋");
    mary.send("How are you?");
    for client in [&mut john, &mut mary] {
        client.expect(&["Grüß Gott 👋", "How are you?"]);
    }
    john.close();
    mary.send("Gone?");
    mary.expect(&["Gone?"]);
    mary.close();
}

fn stored_message(server: &Wsloop) {
    let mut publisher = server.connect("stored?publish-broadcast");
    publisher.send("it was said before");
    // The broker takes commands in order, so this is there when the next one is.
    let mut witness = server.connect("stored-witness?subscribe-broadcast&publish-broadcast&echo");
    witness.send("now");
    witness.expect(&["now"]);
    let mut late = server.connect("stored?subscribe-broadcast");
    late.expect(&["it was said before"]);
    publisher.send("and this is live");
    late.expect(&["and this is live"]);
    late.close();
    publisher.close();
}

fn last_stored_message(server: &Wsloop) {
    let path = "last?subscribe-broadcast&publish-broadcast&echo";
    let mut first = server.connect(path);
    for text in ["one", "two", "three"] {
        first.send(text);
    }
    first.expect(&["one", "two", "three"]);
    let mut other = server.connect("last/other?subscribe-broadcast&publish-broadcast&echo");
    other.send("elsewhere");
    other.expect(&["elsewhere"]);
    let mut late = server.connect(path);
    late.expect(&["three"]);
    late.send("four");
    late.expect(&["four"]);
    first.expect(&["four"]);
    server.connect("last/other?subscribe-broadcast").expect(&["elsewhere"]);
}

fn echo_rule(server: &Wsloop) {
    let path = "echo?subscribe-broadcast&publish-broadcast";
    let (mut john, mut mary) = (server.connect(path), server.connect(path));
    for _ in 0..3 {
        john.send("same");
    }
    mary.expect(&["same"; 3]);
    mary.send("same");
    mary.send("end");
    // Of four equal messages john has sent three and is told the one that mary sent.
    john.expect(&["same", "end"]);
    john.send("end");
    mary.expect(&["end"]);
}

fn echo_rule_in_a_burst(server: &Wsloop) {
    const COUNT: usize = 200;
    let path = "echo-burst?subscribe-broadcast&publish-broadcast";
    let (mut john, mut mary) = (server.connect(path), server.connect(path));
    let texts: Vec<String> = (0..COUNT).map(|n| format!("number {}", n / 2)).collect();
    john.raw(&frames(&texts));
    let got: Vec<String> = (0..COUNT).map(|_| mary.text()).collect();
    assert_all_equal(&got, &texts);
    mary.raw(&frames(&texts));
    let got: Vec<String> = (0..COUNT).map(|_| john.text()).collect();
    assert_all_equal(&got, &texts);
    mary.send("end");
    john.expect(&["end"]);
    john.send("the end");
    mary.expect(&["the end"]);
}

fn burst(server: &Wsloop) {
    const COUNT: usize = 500;
    let path = "burst?subscribe-broadcast";
    let mut readers: Vec<Client> = (0..3).map(|_| server.connect(path)).collect();
    let texts: Vec<String> = (0..COUNT).map(|n| format!("message {n}")).collect();
    server.connect("burst?publish-broadcast").raw(&frames(&texts));
    for reader in &mut readers {
        let got: Vec<String> = (0..COUNT).map(|_| reader.text()).collect();
        assert_all_equal(&got, &texts);
    }
}

fn binary(server: &Wsloop) {
    let path = "binary?subscribe-broadcast&publish-broadcast&echo";
    let mut plain = server.connect(path);
    let mut always = server.connect(&format!("{path}&binary"));
    let broken = vec![0x00, 0x12, 0xaa];
    plain.send_binary(&broken);
    plain.send("text");
    plain.send_binary(b"looks like text");
    let expected = [
        (Event::Binary(broken.clone()), broken.as_slice()),
        (Event::Text("text".to_owned()), b"text"),
        (Event::Text("looks like text".to_owned()), b"looks like text"),
    ];
    for (event, bytes) in expected {
        assert_eq!(plain.message(), event);
        assert_eq!(always.message(), Event::Binary(bytes.to_vec()));
    }
    plain.send_binary(&broken);
    assert_eq!(plain.message(), Event::Binary(broken.clone()));
    let mut late = server.connect(path);
    assert_eq!(late.message(), Event::Binary(broken), "the stored message");
}

fn options(server: &Wsloop) {
    let mut odd = server.connect("options?Subscribe-Broadcast=no&UNKNOWN=1&&pUBLISH-bROADCAST=0");
    let mut even = server.connect("options?publish-broadcast&subscribe-broadcast");
    odd.send("from odd");
    even.expect(&["from odd"]);
    even.send("from even");
    odd.expect(&["from even"]);
}

fn no_options(server: &Wsloop) {
    let mut mute = server.connect("none");
    let mut speaker = server.connect("none?subscribe-broadcast&publish-broadcast&echo");
    mute.send("nobody hears this");
    assert_eq!(mute.arrived(), []);
    speaker.send("and mute does not hear this");
    speaker.expect(&["and mute does not hear this"]);
    assert_eq!(mute.arrived(), []);
    mute.close();
}

fn empty_message(server: &Wsloop) {
    let mut client = server.connect("empty?subscribe-broadcast&publish-broadcast&echo");
    client.send("");
    client.send_binary(b"");
    client.send("something");
    client.expect(&["something"]);
    server.connect("empty?subscribe-broadcast").expect(&["something"]);
}

fn early_and_large(server: &Wsloop) {
    let path = "early?subscribe-broadcast&publish-broadcast&echo";
    let host = server.address();
    let mut bytes = upgrade(path, host, "").into_bytes();
    bytes.extend(frame_bytes(true, Opcode::Text, b"one"));
    bytes.extend(frame_bytes(true, Opcode::Text, b"two"));
    bytes.extend(&frame_bytes(true, Opcode::Text, b"three")[..3]);
    let mut stream = tcp(host);
    std::io::Write::write_all(&mut stream, &bytes).expect("the request is taken");
    let mut client = Client::accepted(stream).expect("a 101");
    client.expect(&["one", "two"]);
    client.raw(&frame_bytes(true, Opcode::Text, b"three")[3..]);
    client.expect(&["three"]);
    let large = "0123456789abcdef".repeat(1 << 16);
    client.send(&large);
    assert!(client.text() == large, "a message of 1 MiB comes back as it was");
    // So that what is stored is not in the way of anybody.
    client.send("small");
    client.expect(&["small"]);
}

fn frames(texts: &[String]) -> Vec<u8> {
    texts.iter().flat_map(|text| frame_bytes(true, Opcode::Text, text.as_bytes())).collect()
}
