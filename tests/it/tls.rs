//! The HTTP client trusts the system's authorities and those of `net.ca_file`, and nobody else: against a TLS
//! server with a certificate of a private authority, both made by openssl.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use sentinelops::net::{Reach, Settings, client};

use crate::support::time::eventually;

/// Ends the server with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn openssl(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(arguments.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, arguments: &str) {
    let output = openssl(folder, arguments)
        .output()
        .unwrap_or_else(|error| panic!("openssl cannot be run ({error}): apt-get install openssl"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    run(
        folder,
        &format!("req -x509 {curve} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"),
    );
    run(folder, &format!("req {curve} -keyout key.pem -out request.pem -subj /CN=localhost"));
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    run(
        folder,
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 \
         -extfile names",
    );
    // A port that is free now; another test could only take it in the moment until the server does.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let serve =
        format!("s_server -accept 127.0.0.1:{free} -cert cert.pem -key key.pem -www -quiet");
    let _server = Server(openssl(folder, &serve).stderr(Stdio::null()).spawn().unwrap());
    let url = format!("https://localhost:{free}/");

    let named = Settings { ca_file: Some(folder.join("ca.pem")), ..Settings::default() };
    for reach in [Reach::Anywhere, Reach::Guarded] {
        let trusting = client(&named, reach).unwrap();
        eventually("the server answers", || async {
            trusting.get(&url).send().await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }
    let stranger = client(&Settings::default(), Reach::Anywhere).unwrap();
    let error = stranger.get(&url).send().await.unwrap_err();
    assert!(format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
}
