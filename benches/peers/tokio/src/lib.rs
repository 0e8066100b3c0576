//! What servers on tokio have in common here: their arguments, Redis, and the handshake, which both
//! libraries leave to others or to a framework.

use std::error::Error;

use bytes::Bytes;
use futures_util::StreamExt;
use sockudo_ws::handshake::server_handshake;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, Receiver, Sender};

/// How many messages a slow connection may lag behind before it is closed.
const LAG: usize = 1024;

/// What may go wrong.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Usage: `PROGRAM --listen PORT --redis PORT --channel NAME`. Every connection is served with what
/// Redis brings on the channel; one to `/echo` is to have its own messages back instead, and has no
/// messages to listen to.
pub async fn run<F>(serve: fn(TcpStream, Option<Receiver<Bytes>>) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
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
    tokio::spawn(accept(listener, sender.clone(), serve));
    println!("listening");

    let mut pushes = pushes.into_on_message();
    while let Some(push) = pushes.next().await {
        if let Ok(text) = push.get_payload::<Vec<u8>>() {
            // That nobody listens is no error.
            let _ = sender.send(Bytes::from(text));
        }
    }
    Err("Redis is gone".into())
}

async fn accept<F>(
    listener: TcpListener,
    sender: Sender<Bytes>,
    serve: fn(TcpStream, Option<Receiver<Bytes>>) -> F,
) where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    loop {
        if let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let messages = sender.subscribe();
            tokio::spawn(async move {
                let asked = server_handshake(&mut stream).await?;
                let messages = (asked.path != "/echo").then_some(messages);
                serve(stream, messages).await
            });
        }
    }
}
