//! The peer that serves files: nginx, with a configuration of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::folders::{self, Temporary};
use crate::http::Http;
use crate::process::{Finished, Running};

/// nginx serving one folder. Ends when dropped.
#[derive(Debug)]
pub(super) struct Nginx {
    running: Running,
    address: SocketAddr,
    _work: Temporary,
}

impl Nginx {
    pub(super) fn serving(folder: &Path) -> Result<Self> {
        let work = folders::temporary("nginx-")?;
        // nginx binds by number; the port is free at this moment.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let at = work.path().display();
        // As Debian configures it for static files, in the foreground and without a log of every request.
        let config = format!(
            "daemon off;\nworker_processes auto;\npid {at}/pid;\nerror_log stderr warn;\n\
             events {{ worker_connections 768; }}\n\
             http {{\n  sendfile on;\n  tcp_nopush on;\n  access_log off;\n  keepalive_requests 1000000;\n\
             client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  fastcgi_temp_path {at}/fastcgi;\n\
             uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n\
             server {{ listen {address}; root {root}; }}\n}}\n",
            root = folder.display()
        );
        let config = if rustix::process::geteuid().is_root() {
            format!("user root;\n{config}")
        } else {
            config
        };
        let file = work.path().join("nginx.conf");
        fs::write(&file, config).context("cannot write a configuration")?;
        let command = |test: bool| {
            let mut command = Command::new("nginx");
            command.env("PATH", "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin:/bin");
            command
                .arg("-p")
                .arg(work.path())
                .arg("-c")
                .arg(&file)
                .arg("-e")
                .arg("stderr");
            if test {
                command.arg("-t");
            }
            command
        };
        Finished::run(command(true))
            .context("testnet/setup.sh installs nginx-light")?
            .ok()?;
        let running = Running::start(command(false))?;
        let nginx = Self {
            running,
            address,
            _work: work,
        };
        nginx.wait_until_up()?;
        Ok(nginx)
    }

    /// nginx does not say when it is ready: connect until it answers, as often as its start can take.
    fn wait_until_up(&self) -> Result<()> {
        let http = Http::new(&self.url(), None);
        let mut last = http.get("/nix-cache-info");
        for _ in 0..100_000 {
            if last.is_ok() {
                break;
            }
            std::thread::yield_now();
            last = http.get("/nix-cache-info");
        }
        last.with_context(|| format!("nginx does not answer:\n{}", self.running.printed()))?
            .ok()
            .map(|_| ())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its workers along; a killed one would leave them.
        let _ = self.running.signal(rustix::process::Signal::TERM);
        let _ = self.running.wait_end();
    }
}
