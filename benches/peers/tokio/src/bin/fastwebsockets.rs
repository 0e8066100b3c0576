//! A WebSocket fan-out as one would write it with fastwebsockets and the redis crate.

use bytes::Bytes;
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocket,
    WebSocketError,
};
use peers_tokio::Failure;
use tokio::net::TcpStream;
use tokio::sync::broadcast::Receiver;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    peers_tokio::run(serve).await
}

async fn serve(stream: TcpStream, messages: Option<Receiver<Bytes>>) -> Result<(), Failure> {
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_auto_close(true);
    socket.set_auto_pong(true);
    match messages {
        Some(messages) => deliver(socket, messages).await,
        None => echo(FragmentCollector::new(socket)).await,
    }
}

async fn echo(mut socket: FragmentCollector<TcpStream>) -> Result<(), Failure> {
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn deliver(
    socket: WebSocket<TcpStream>,
    mut messages: Receiver<Bytes>,
) -> Result<(), Failure> {
    let (reader, mut writer) = socket.split(|stream| stream.into_split());
    let mut reader = FragmentCollectorRead::new(reader);
    let hearing = async move {
        loop {
            let mut answer = |_| async { Ok::<(), WebSocketError>(()) };
            match reader.read_frame(&mut answer).await {
                Ok(frame) if frame.opcode != OpCode::Close => {}
                _ => return,
            }
        }
    };
    let telling = async move {
        while let Ok(text) = messages.recv().await {
            let frame = Frame::text(Payload::Borrowed(&text));
            if writer.write_frame(frame).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = hearing => {}
        () = telling => {}
    }
    Ok(())
}
