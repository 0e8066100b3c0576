//! A WebSocket fan-out as one would write it with tokio-tungstenite and the redis crate.
//!
//! Usage: `peer-tungstenite --listen PORT --redis PORT --channel NAME`. Every connection gets what
//! Redis brings on the channel; one to `/echo` gets its own messages back instead.

use std::error::Error;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// How many messages a slow connection may lag behind before it is closed.
const LAG: usize = 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).ok_or(format!("{name} is missing"))
    };
    let redis = redis::Client::open(format!("redis://127.0.0.1:{}/", value("--redis")?))?;
    let mut pushes = redis.get_async_pubsub().await?;
    pushes.subscribe(value("--channel")?).await?;

    let (sender, _) = broadcast::channel(LAG);
    let listener = TcpListener::bind(format!("127.0.0.1:{}", value("--listen")?)).await?;
    tokio::spawn(accept(listener, sender.clone()));
    println!("listening");

    let mut pushes = pushes.into_on_message();
    while let Some(push) = pushes.next().await {
        if let Ok(text) = push.get_payload::<String>() {
            // That nobody listens is no error.
            let _ = sender.send(Utf8Bytes::from(text));
        }
    }
    Err("Redis is gone".into())
}

async fn accept(listener: TcpListener, sender: Sender<Utf8Bytes>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(serve(stream, sender.subscribe()));
        }
    }
}

async fn serve(stream: TcpStream, mut messages: Receiver<Utf8Bytes>) {
    // The default is 128 KiB for each connection.
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let mut echo = false;
    // The signature is the library's.
    #[allow(clippy::result_large_err)]
    let look = |request: &Request, response: Response| {
        echo = request.uri().path() == "/echo";
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async_with_config(stream, look, Some(config)).await else {
        return;
    };
    if echo {
        drop(messages);
        while let Some(Ok(message)) = socket.next().await {
            let answered = message.is_text() || message.is_binary();
            if answered && socket.send(message).await.is_err() {
                return;
            }
        }
        return;
    }
    loop {
        tokio::select! {
            text = messages.recv() => {
                let Ok(text) = text else { return };
                if deliver(&mut socket, text, &mut messages).await.is_err() {
                    return;
                }
            }
            message = socket.next() => {
                if !matches!(message, Some(Ok(_))) {
                    return;
                }
            }
        }
    }
}

/// Writes the message, and those that wait behind it with the same system call.
async fn deliver(
    socket: &mut WebSocketStream<TcpStream>,
    text: Utf8Bytes,
    messages: &mut Receiver<Utf8Bytes>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    socket.feed(Message::Text(text)).await?;
    while let Ok(text) = messages.try_recv() {
        socket.feed(Message::Text(text)).await?;
    }
    Ok(socket.flush().await?)
}
