//! Certificates made on the spot with Debian's openssl, and clients that speak TLS.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::Folder;
use super::client::{Client, Response, Wire, tcp, upgrade};

/// A TLS connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Wire for TlsStream {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

/// An authority, and a folder with what it has signed.
pub struct Authority {
    folder: Folder,
}

/// The files of a certificate.
#[derive(Clone)]
pub struct Files {
    pub cert: String,
    pub key: String,
}

/// What openssl wants to be told, and what it would add by itself.
const CONFIGURATION: &str = "[req]\ndistinguished_name = dn\n[dn]\n";

impl Authority {
    pub fn new() -> Authority {
        let authority = Authority { folder: Folder::new() };
        fs::write(authority.folder.join("cnf"), CONFIGURATION).expect("a file");
        let more = ["-addext", "basicConstraints=critical,CA:TRUE"];
        authority.request("ca", &[&["-x509", "-days", "9", "-subj", "/CN=ca"], &more[..]].concat());
        authority
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// The authority's own certificate.
    pub fn root(&self) -> String {
        self.path("ca.pem")
    }

    /// A certificate for these names, such as `DNS:localhost,IP:127.0.0.1`.
    pub fn issue(&self, file: &str, names: &str) -> Files {
        let names = format!("subjectAltName={names}");
        let (ca, key) = (self.root(), self.path("ca.key"));
        let by = ["-x509", "-days", "9", "-CA", &ca, "-CAkey", &key];
        let of = ["-subj", "/CN=x", "-addext", &names, "-addext", "basicConstraints=CA:FALSE"];
        self.request(file, &[&by[..], &of].concat())
    }

    /// One that is valid no more.
    pub fn issue_expired(&self, file: &str) -> Files {
        let files = self.request(file, &["-subj", "/CN=x"]);
        let (ca, key, ext) = (self.root(), self.path("ca.key"), self.path("ext"));
        fs::write(&ext, "subjectAltName=DNS:localhost\n").expect("a file");
        let cert = files.cert.as_str();
        let by = ["-CA", &ca, "-CAkey", &key, "-days", "-1", "-extfile", &ext];
        openssl(&[&["x509", "-req", "-in", cert, "-out", cert], &by[..]].concat());
        files
    }

    fn request(&self, file: &str, args: &[&str]) -> Files {
        let (cert, key) = (format!("{file}.pem"), format!("{file}.key"));
        let files = Files { cert: self.path(&cert), key: self.path(&key) };
        let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let (cnf, out) = (self.path("cnf"), ["-keyout", &files.key, "-out", &files.cert]);
        openssl(&[&["req", "-config", &cnf], &kind[..], &out, args].concat());
        files
    }

    /// A client that believes this authority, with these versions.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut config = self.builder(versions).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    fn builder(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(self.root()).expect("a certificate");
        roots.add(root).expect("an authority");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(versions).expect("versions");
        builder.with_root_certificates(roots)
    }
}

/// The files of a pair, as rustls takes them.
pub fn loaded(files: &Files) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_file_iter(&files.cert).expect("a file");
    let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
    (chain.map(|der| der.expect("PEM")).collect(), key)
}

#[track_caller]
pub fn openssl(args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).output().expect("openssl");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A TLS connection whose handshake is done, or why it is not.
pub fn connect(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> Result<TlsStream, String> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let session = ClientConnection::new(config.clone(), name).expect("a session");
    let mut stream = StreamOwned::new(session, tcp(address));
    match stream.conn.complete_io(&mut stream.sock) {
        Ok(_) => Ok(stream),
        Err(error) => Err(error.to_string()),
    }
}

/// A WebSocket over TLS.
#[track_caller]
pub fn open(address: SocketAddr, config: &Arc<ClientConfig>, path: &str) -> Client<TlsStream> {
    let mut stream = connect(address, config, "localhost").expect("a handshake");
    let more = format!("Origin: https://{address}\r\n");
    stream.write_all(upgrade(path, address, &more).as_bytes()).expect("it is taken");
    Client::accepted(stream).expect("a 101")
}

/// The answer to a request over TLS.
#[track_caller]
pub fn get(address: SocketAddr, config: &Arc<ClientConfig>, path: &str) -> Response {
    let mut stream = connect(address, config, "localhost").expect("a handshake");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is taken");
    Response::read(&mut stream)
}

/// Where a file is, for a flag.
pub fn text(path: PathBuf) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
