//! A WebSocket fan-out as one would write it with sockudo-ws and the redis crate.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use peers_tokio::Failure;
use sockudo_ws::{Config, Message, WebSocketStream};
use tokio::net::TcpStream;
use tokio::sync::broadcast::Receiver;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    peers_tokio::run(serve).await
}

async fn serve(stream: TcpStream, messages: Option<Receiver<Bytes>>) -> Result<(), Failure> {
    let mut socket = WebSocketStream::server(stream, Config::default());
    let Some(mut messages) = messages else {
        while let Some(message) = socket.next().await {
            match message? {
                message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
                Message::Close(_) => break,
                _ => {}
            }
        }
        return Ok(());
    };
    loop {
        tokio::select! {
            text = messages.recv() => {
                socket.feed(Message::Text(text?)).await?;
                // Those that wait behind it go with the same system call.
                while let Ok(text) = messages.try_recv() {
                    socket.feed(Message::Text(text)).await?;
                }
                socket.flush().await?;
            }
            message = socket.next() => {
                match message {
                    Some(Ok(Message::Close(_))) | Some(Err(_)) | None => return Ok(()),
                    Some(Ok(_)) => {}
                }
            }
        }
    }
}
