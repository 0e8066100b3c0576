//! Follows a page: writes its files, types its commands, and sees that they print what it says.

use std::collections::VecDeque;
use std::fs;
use std::iter;
use std::path::Path;

use crate::markdown::{self, Block, Step};
use crate::place::Home;
use crate::terminal::Terminal;

/// Somebody who follows a page, from an empty home folder.
pub struct Reader {
    steps: VecDeque<Step>,
    /// Those that go on running, by the command that does. They end before the folder does.
    terminals: Vec<(String, Terminal)>,
    /// The one in which everything else is typed.
    terminal: Terminal,
    /// What the last block of commands has printed.
    printed: String,
    /// Blocks that are not to be followed: the first line of each.
    skipped: Vec<&'static str>,
    pub home: Home,
}

impl Reader {
    /// Begins with a page.
    pub fn of(page: &str) -> Reader {
        let home = Home::new();
        let terminal = Terminal::open(home.path(), &home.environment());
        let steps = markdown::steps(page).expect("a page that can be followed").into();
        let (terminals, printed, skipped) = (Vec::new(), String::new(), Vec::new());
        Reader { steps, terminals, terminal, printed, skipped, home }
    }

    /// Does not follow the blocks that begin with these lines.
    pub fn skip(mut self, lines: &[&'static str]) -> Reader {
        self.skipped.extend(lines);
        self
    }

    /// Goes on to where the page has an address opened, and returns that; at the end, nothing.
    #[track_caller]
    pub fn go_on(&mut self) -> Option<String> {
        loop {
            match self.steps.pop_front() {
                Some(Step::Block(block)) => self.follow(&block),
                Some(Step::Open(url)) => return Some(url),
                None => {
                    assert!(self.skipped.is_empty(), "these are no blocks: {:?}", self.skipped);
                    return None;
                }
            }
        }
    }

    /// Types a command that is not in the page.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> String {
        self.terminal.run(command)
    }

    /// Types one that goes on running, in a terminal of its own.
    pub fn launch(&mut self, command: &str) {
        let mut terminal = Terminal::open(self.home.path(), &self.home.environment());
        terminal.launch(command);
        self.terminals.push((command.to_owned(), terminal));
    }

    /// Ends what runs, and starts it again.
    #[track_caller]
    pub fn restart(&mut self, command: &str) {
        self.stop(command);
        self.launch(command);
    }

    #[track_caller]
    fn follow(&mut self, block: &Block) {
        eprintln!("{block}");
        let first = block.text.lines().next().unwrap_or_default();
        if let Some(at) = self.skipped.iter().position(|line| *line == first) {
            self.skipped.remove(at);
        } else if block.is_shell() {
            self.run_all(block);
        } else if block.is_output() {
            self.compare(block);
        } else if let Some(name) = block.file() {
            self.write(name, block);
        } else if !block.is_picture() {
            panic!("what is done with this? {block}");
        }
    }

    #[track_caller]
    fn run_all(&mut self, block: &Block) {
        let mut commands = block.commands();
        if block.has_own_terminal() {
            let last = commands.pop().expect("a command that goes on running");
            if block.is_again() {
                self.stop(&last);
            }
            let mut terminal = Terminal::open(self.home.path(), &self.home.environment());
            for command in commands {
                terminal.run(&command);
            }
            terminal.launch(&last);
            self.terminals.push((last, terminal));
        } else {
            let printed: Vec<String> =
                commands.iter().map(|command| self.terminal.run(command)).collect();
            self.printed = printed.join("\n");
        }
    }

    /// Stops what the command is to run instead of: the same program, doing the same.
    #[track_caller]
    pub fn stop(&mut self, command: &str) {
        fn name(command: &str) -> Vec<&str> {
            command.split(' ').take(2).filter(|word| !word.starts_with('-')).collect()
        }
        let at = self.terminals.iter().rposition(|(running, _)| name(running) == name(command));
        self.terminals.remove(at.expect("it runs already"));
    }

    /// Sees that the block is what was printed: by the commands before it, or by the program that
    /// is named in the lead.
    #[track_caller]
    fn compare(&mut self, block: &Block) {
        let named = |(command, _): &&mut (String, Terminal)| {
            let mut spans = block.lead.split('`').skip(1).step_by(2);
            spans.any(|span| command.starts_with(span))
        };
        let mut expected: Vec<&str> = block.text.lines().collect();
        // Of several that fit it is the last one.
        let printed = match self.terminals.iter_mut().rev().find(named) {
            Some((_, terminal)) => {
                // Empty lines are not seen in what a program prints that goes on.
                expected.retain(|line| !line.is_empty());
                next_lines(terminal, expected.len(), is_logged(&block.text))
            }
            None => std::mem::take(&mut self.printed),
        };
        let is_same = markdown::is_as_expected(&expected.join("\n"), &printed);
        assert!(is_same, "{block}and not:\n{printed}");
    }

    #[track_caller]
    fn write(&mut self, name: &str, block: &Block) {
        let folder = self.terminal.run("pwd");
        let path = Path::new(&folder).join(name);
        assert!(path.starts_with(self.home.path()), "{} is not the reader's", path.display());
        let mut text = block.text.clone();
        if block.appends() {
            let before = fs::read_to_string(&path);
            let before = before.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            text = before + "\n" + &text;
        }
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
    }
}

/// So many lines of a program that goes on. What it logs comes on its own, anywhere between the
/// others, so it is passed over where the block has none of it.
fn next_lines(terminal: &mut Terminal, lines: usize, logged: bool) -> String {
    let next = iter::repeat_with(|| terminal.next_lines(1));
    let shown: Vec<String> = next.filter(|line| logged || !is_logged(line)).take(lines).collect();
    shown.join("\n")
}

fn is_logged(text: &str) -> bool {
    [" INFO ", " WARN ", " ERROR "].iter().any(|level| text.contains(level))
}
