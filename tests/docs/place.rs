//! Where a page is followed: a network namespace, in which the ports that it names are free and
//! nothing else can answer, and an empty home folder.
//!
//! Nothing of the world outside is reached from there. What a page has installed is fetched before,
//! by the same commands, and comes from these copies then.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::markdown::{self, Step};
use crate::support::Folder;

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Set for the test that runs inside the namespace.
const INSIDE: &str = "DOCS_NAMESPACE";

/// Debian's own, whatever else of their names is first on PATH: their packages are what is there.
const INTERPRETERS: [&str; 4] = ["python3", "ruby", "php", "rails"];

/// RubyGems is not reached by any test, so gems are those of Debian: what is added is written into
/// the Gemfile, as Bundler does, and then looked for on this machine.
const BUNDLE: &str = "#!/bin/sh
if [ \"$1\" = add ]; then
    shift
    for gem; do echo \"gem '$gem'\" >>Gemfile; done
    exec /usr/bin/bundle install --local --quiet
fi
exec /usr/bin/bundle \"$@\"
";

/// Runs the rest of the test in a namespace: this program again, with this test alone. Outside it
/// returns false, when all is over and was well.
pub fn is_inside(test: &str, page: &str) -> bool {
    is_within(test, page, &[])
}

/// The same in a namespace that has also a system of its own: what it starts ends with it, and what
/// it writes below /etc, /run and /var/log is gone then.
pub fn is_inside_own_system(test: &str, page: &str) -> bool {
    if !is_within(test, page, &["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]) {
        return false;
    }
    let lines = "mount -t tmpfs tmpfs /run && { cp -a /etc /run || true; } 2>&- &&
        mount --bind /run/etc /etc && mount -t tmpfs tmpfs /var/log && mkdir /var/log/nginx";
    let mounted = Command::new("sh").args(["-c", lines]).status().expect("a shell");
    assert!(mounted.success(), "no system of its own: {mounted}");
    true
}

fn is_within(test: &str, page: &str, kinds: &[&str]) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let copies = fetch(page);
    let user = Command::new("id").arg("-u").output().expect("id");
    let mut command = Command::new("unshare");
    command.arg("--net").args(kinds);
    if user.stdout.trim_ascii() != b"0" {
        command.arg("--map-root-user");
    }
    command.args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    command.arg(env::current_exe().expect("a path"));
    command.args([test, "--exact", "--include-ignored", "--nocapture"]);
    // Debian keeps ip and nginx where only root's PATH looks.
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").expect("a PATH"));
    command.env(INSIDE, copies.path()).env("PATH", path);
    let output = command.stdin(Stdio::null()).output().expect("unshare");
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success() && out.contains(" 1 passed"), "{out}\n{err}");
    false
}

/// Copies of what the page installs from PyPI and npm.
fn fetch(page: &str) -> Folder {
    let copies = Folder::new();
    fs::create_dir(copies.join("pip")).expect("a folder");
    let steps = markdown::steps(page).expect("a page that can be followed");
    let commands: Vec<String> = steps.iter().flat_map(commands).collect();
    // Their names may lead to the repository, where a reader has it.
    let home = copies.join("home");
    lay_home(&home);
    // HOME stays, for that is where pip and npm may be configured.
    let run = |line: String| {
        let mut command = Command::new("sh");
        command.args(["-ec", &line]).current_dir(&home).stdin(Stdio::null());
        let output = command.output().expect("a shell");
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    };
    for command in &commands {
        let command = command.replace("~/", &format!("{}/", home.display()));
        if let Some(packages) = command.strip_prefix("pip install ") {
            // What builds the package in the repository comes along.
            let pip = "/usr/bin/python3 -m venv venv && venv/bin/pip download --quiet";
            let to = "--disable-pip-version-check --dest ../pip";
            run(format!("{pip} {to} {packages} 'setuptools>=77' wheel"));
        } else if let Some(packages) = command.strip_prefix("npm install ") {
            let how = "--no-audit --no-fund --silent --prefix npm --cache ../npm";
            run(format!("mkdir npm && npm install {how} {packages}"));
        }
    }
    fs::remove_dir_all(&home).expect("it can be removed");
    copies
}

fn commands(step: &Step) -> Vec<String> {
    match step {
        Step::Block(block) if block.is_shell() => block.commands(),
        _ => Vec::new(),
    }
}

/// A home folder that has nothing in it but the programs, and what a reader has of this repository.
pub struct Home {
    folder: Folder,
    copies: PathBuf,
}

impl Home {
    pub fn new() -> Home {
        let folder = Folder::new();
        let copies = PathBuf::from(env::var_os(INSIDE).expect("this runs inside the namespace"));
        lay_home(Path::new(folder.path()));
        Home { folder, copies }
    }

    pub fn path(&self) -> &str {
        self.folder.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The variables of a terminal.
    pub fn environment(&self) -> Vec<(String, String)> {
        let home = self.path();
        let outside = env::var("HOME").expect("a HOME");
        let or = |name: &str, folder: &str| {
            env::var(name).unwrap_or_else(|_| format!("{outside}/{folder}"))
        };
        let path = env::var("PATH").expect("a PATH");
        // npm finds its copies by the registry that they are from, which may be another than usual.
        let npm = |(name, _): &(String, String)| name.to_lowercase().starts_with("npm_config_");
        let mut environment: Vec<(String, String)> = env::vars().filter(npm).collect();
        environment.extend(
            [
                ("npm_config_userconfig", or("NPM_CONFIG_USERCONFIG", ".npmrc")),
                ("HOME", home.to_owned()),
                ("PATH", format!("{home}/.local/bin:{home}/bin:{path}")),
                ("LANG", "C.UTF-8".to_owned()),
                ("TERM", "dumb".to_owned()),
                ("CARGO_HOME", or("CARGO_HOME", ".cargo")),
                ("RUSTUP_HOME", or("RUSTUP_HOME", ".rustup")),
                ("CARGO_INSTALL_ROOT", format!("{home}/.local")),
                ("CARGO_NET_OFFLINE", "true".to_owned()),
                ("PIP_DISABLE_PIP_VERSION_CHECK", "1".to_owned()),
                ("PIP_NO_INDEX", "1".to_owned()),
                ("PIP_FIND_LINKS", self.copies.join("pip").display().to_string()),
                ("npm_config_cache", self.copies.join("npm").display().to_string()),
                ("npm_config_offline", "true".to_owned()),
                // redis-cli prints for people, as it does in their terminals.
                ("FAKETTY", "1".to_owned()),
                ("NODE_PATH", format!("{ROOT}/tests/docs/node_modules")),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        environment
    }
}

/// `~/wsloop` is the repository as far as applications use it, and `wsloop` is installed.
fn lay_home(home: &Path) {
    fs::create_dir_all(home.join("bin")).expect("a folder");
    fs::create_dir_all(home.join("wsloop")).expect("a folder");
    symlink(env!("CARGO_BIN_EXE_wsloop"), home.join("bin/wsloop")).expect("a link");
    for name in INTERPRETERS {
        symlink(Path::new("/usr/bin").join(name), home.join("bin").join(name)).expect("a link");
    }
    let bundle = home.join("bin/bundle");
    fs::write(&bundle, BUNDLE).expect("a file");
    fs::set_permissions(&bundle, fs::Permissions::from_mode(0o755)).expect("a mode");
    // A copy, for what is built from it is written beside it.
    for name in ["clients", "examples/deploy"] {
        copy(&Path::new(ROOT).join(name), &home.join("wsloop").join(name));
    }
}

fn copy(from: &Path, to: &Path) {
    const MADE: [&str; 4] = ["node_modules", "build", "__pycache__", "wsloop.egg-info"];
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("an entry");
        let to = to.join(&name);
        match from.is_dir() {
            _ if MADE.iter().any(|made| name == *made) => {}
            true => copy(&from, &to),
            // Links lead to files in there, whose contents are as good.
            false => drop(fs::copy(from, to).expect("a file is copied")),
        }
    }
}
