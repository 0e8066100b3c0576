//! The examples, each with a client that has no page.
#![allow(dead_code, reason = "an example's main is for the command line")]

use super::*;

#[path = "../../examples/echo.rs"]
mod echo;

#[test]
fn echo() {
    let sockets = bind();
    let address = sockets.addresses()[0];
    let sender = sockets.sender();
    let served = thread::spawn(move || echo::serve(sockets));
    let mut client = connect(address);
    for text in ["hello", "", "grüße"] {
        client.send(text);
        assert_eq!(client.text(), text);
    }
    let large = vec![7; 1 << 20];
    client.send_binary(&large);
    assert_eq!(client.message(), Event::Binary(large));
    sender.shut_down();
    client.expect_close(1001, "");
    assert!(matches!(served.join().expect("it ends"), Err(SocketsError::ShutDown)));
}
