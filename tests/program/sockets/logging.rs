//! A log that nobody reads.

use super::*;

#[test]
fn lines_that_were_dropped_are_counted_and_said() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    command.env_clear().args(["--listen", "127.0.0.1:0", "--resp", "off", "--log", "debug"]);
    command.args(["--metrics", "/metrics"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::spawn(&mut command);
    let mut line = String::new();
    BufReader::new(process.stdout()).read_line(&mut line).expect("a pipe");
    let address = line.trim_end().strip_prefix("listening on http://").expect("it listens");
    let host = address.parse().expect("an address");
    let get =
        |path: &str| Response::to(host, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let lost = || {
        let metrics = get("/metrics").body;
        let (_, rest) = metrics.split_once("\nwsloop_log_lines_dropped_total ").expect("a metric");
        rest.lines().next().expect("a number").parse::<u64>().expect("a number")
    };
    assert_eq!(lost(), 0);
    eventually("a full pipe", || {
        (0..200).for_each(|_| drop(get(&format!("/{}", "x".repeat(4000)))));
        (lost() > 0).then_some(())
    });

    // Its reader is back: all that waited comes, and then how many are missing.
    let stderr = BufReader::new(process.stderr());
    let (sender, said) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let lines = stderr.lines().map_while(Result::ok);
        let dropped = lines.filter_map(|line| {
            let (before, _) = line.split_once(" lines dropped")?;
            before.rsplit(' ').next()?.parse::<u64>().ok()
        });
        dropped.map_while(|lines| sender.send(lines).ok()).count();
    });
    let first = said.recv_timeout(PATIENCE).expect("a line that says it");
    assert!(first > 0);
}
