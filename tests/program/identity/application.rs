//! A real application that is asked.

use super::*;

// The application.

/// An application with one view, in threads of its own.
struct App {
    asked: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    wake: Box<dyn Fn()>,
    listener: Option<JoinHandle<()>>,
}

type View = fn(&str) -> String;

impl App {
    fn on_tcp(view: View) -> (App, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let accept = move || listener.accept().expect("a connection").0;
        let wake = move || drop(TcpStream::connect(address));
        (App::start(view, accept, Box::new(wake)), address)
    }

    fn on_unix(view: View, path: &Path) -> App {
        let listener = UnixListener::bind(path).expect("a socket");
        let accept = move || listener.accept().expect("a connection").0;
        let path = path.to_owned();
        App::start(view, accept, Box::new(move || drop(UnixStream::connect(&path))))
    }

    fn start<S: Read + Write + Send + 'static>(
        view: View,
        accept: impl Fn() -> S + Send + 'static,
        wake: Box<dyn Fn()>,
    ) -> App {
        let (asked, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, ended) = (asked.clone(), ends.clone());
        let listener = thread::spawn(move || {
            loop {
                let stream = accept();
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let log = log.clone();
                thread::spawn(move || serve(stream, view, &log));
            }
        });
        App { asked, ends, wake, listener: Some(listener) }
    }

    /// What it was asked so far.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics with it in hand").clone()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        (self.wake)();
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

/// Answers one request after the other until the other end hangs up.
fn serve(mut stream: impl Read + Write, view: View, log: &Mutex<Vec<String>>) {
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        request.extend_from_slice(&piece[..n]);
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut request)).expect("a text");
        log.lock().expect("nobody panics with it in hand").push(text.clone());
        if stream.write_all(view(&text).as_bytes()).is_err() {
            return;
        }
    }
}

/// Knows john by his cookie, and refuses some.
fn view(request: &str) -> String {
    let answer = |status: &str, headers: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let john = "X-Wsloop-User: john\r\nX-Wsloop-Groups: chat,staff\r\nX-Wsloop-Session: s1\r\n";
    match request.split("who=").nth(1).and_then(|rest| rest.split("\r\n").next()) {
        Some("john") => answer("200 OK", john, "fine"),
        Some("narrow") => {
            answer("200 OK", &format!("{john}X-Wsloop-Allow: subscribe-user\r\n"), "")
        }
        Some("banned") => answer("403 Forbidden", "", "You have been banned."),
        Some("stranger") => answer("401 Unauthorized", "", "Log in first."),
        Some("lost") => answer("302 Found", "Location: /login\r\n", ""),
        Some("broken") => answer("500 Internal Server Error", john, "Traceback"),
        Some("slow") => {
            thread::sleep(Duration::from_millis(800));
            answer("200 OK", john, "")
        }
        _ => answer("204 No Content", "", "").replace("Content-Length: 0\r\n", ""),
    }
}

/// That an application at this URL is asked and obeyed.
fn play_application(redis: &RedisServer, url: &str, host: &str, app: &App) {
    let args = ["--auth-url", url, "--auth-timeout", "0.5"];
    let server = relay(redis, &args);
    let mut publisher = redis.connect();
    let mut john = with_cookie(&server, ALL, "who=john");
    let question = app.asked().pop().expect("it was asked");
    assert!(question.starts_with("GET /auth?a=b HTTP/1.1\r\n"), "{question}");
    for words in [format!("Host: {host}\r\n"), "127.0.0.1".into(), format!("/ws/{ALL}")] {
        assert!(question.contains(&words), "{words}: {question}");
    }
    let mut nobody = server.connect(ALL);
    let names = ["user:john:room", "group:chat:room", "group:staff:room", "session:s1:room"];
    for name in names {
        assert_eq!(publisher.publish(name, name), 1);
        john.expect(&[name]);
    }
    assert_eq!(nobody.arrived(), []);
    let narrow = with_cookie(&server, ALL, "who=narrow");
    assert_eq!(narrow.response.header("x-wsloop-granted"), Some("subscribe-user"));
    for (who, status, words) in [
        ("banned", 403, "You have been banned."),
        ("stranger", 401, "Log in first."),
        ("lost", 503, "later"),
        ("broken", 503, "later"),
        ("slow", 503, "later"),
    ] {
        let response = try_with(&server, ALL, &format!("Cookie: who={who}\r\n")).expect_err(who);
        assert_eq!(
            (response.status, response.body.contains(words)),
            (status, true),
            "{response:?}"
        );
        assert!(!response.body.contains("Traceback"));
    }
    // A crowd is asked about over few connections, and each is answered what it is.
    let mut many: Vec<(usize, Client)> = thread::scope(|scope| {
        let connect = |n: usize| {
            let cookie = if n.is_multiple_of(2) { "who=john" } else { "who=nobody" };
            with_cookie(&server, ALL, cookie)
        };
        let threads: Vec<_> = (0..40).map(|n| scope.spawn(move || (n, connect(n)))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client")).collect()
    });
    publisher.publish("user:john:room", "to all johns");
    for (n, browser) in &mut many {
        match *n % 2 {
            0 => browser.expect(&["to all johns"]),
            _ => assert_eq!(browser.arrived(), []),
        }
    }
    john.expect(&["to all johns"]);
}

#[test]
#[ignore = "needs redis-server"]
fn an_application_is_asked_over_tcp() {
    let redis = RedisServer::start();
    let (app, address) = App::on_tcp(view);
    play_application(&redis, &format!("http://{address}/auth?a=b"), &address.to_string(), &app);
}

#[test]
#[ignore = "needs redis-server"]
fn an_application_is_asked_over_a_unix_socket() {
    let (redis, folder) = (RedisServer::start(), Folder::new());
    let path = folder.join("app.sock");
    let app = App::on_unix(view, &path);
    play_application(&redis, &format!("unix:{}:/auth?a=b", path.display()), "localhost", &app);
}

#[test]
#[ignore = "needs redis-server"]
fn an_application_that_is_not_there_lets_nobody_in() {
    let (redis, folder) = (RedisServer::start(), Folder::new());
    let path = folder.join("app.sock");
    let server = relay(&redis, &["--auth-url", &format!("unix:{}:/auth?a=b", path.display())]);
    let response = server.try_connect(ALL).expect_err("a 503");
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
    server.expect_log(&["ERROR", "--auth-url"]);
    let _app = App::on_unix(view, &path);
    let john = eventually("it is found", || try_with(&server, ALL, "Cookie: who=john\r\n").ok());
    john.close();
}

/// An application that answers each question twice: the second time it is mary.
fn twice(_: &str) -> String {
    let answer = |user| format!("HTTP/1.1 204 No Content\r\nX-Wsloop-User: {user}\r\n\r\n");
    answer("john") + &answer("mary")
}

/// The same, some time after the first.
fn serve_twice(listener: &TcpListener) {
    for _ in 0..3 {
        let mut stream = listener.accept().expect("a connection").0;
        thread::spawn(move || {
            let mut piece = [0; 4096];
            for user in ["john", "mary", "mary"] {
                if user == "john" && !matches!(stream.read(&mut piece), Ok(1..)) {
                    return;
                }
                let answer = format!("HTTP/1.1 204 No Content\r\nX-Wsloop-User: {user}\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
                thread::sleep(Duration::from_millis(50));
            }
        });
    }
}

#[test]
#[ignore = "needs redis-server"]
fn nobody_is_let_in_as_another_by_an_application_that_answers_twice() {
    let redis = RedisServer::start();
    let (_app, at_once) = App::on_tcp(twice);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let later = listener.local_addr().expect("an address");
    let serving = thread::spawn(move || serve_twice(&listener));
    for address in [at_once, later] {
        let server = relay(&redis, &["--auth-url", &format!("http://{address}/")]);
        for _ in 0..3 {
            let mut john = server.connect(ALL);
            redis.connect().publish("user:mary:room", "for mary");
            redis.connect().publish("user:john:room", "for john");
            john.expect(&["for john"]);
            thread::sleep(Duration::from_millis(60));
        }
    }
    serving.join().expect("it has served three");
}
