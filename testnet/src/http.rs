//! A plain HTTP client for what is asked beside Nix and the tool. Statuses are answers, not errors.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, bail};
use ureq::Agent;
use ureq::http::{HeaderMap, Method, Request, Response};

use crate::process::DEADLINE;

/// Asks one server.
#[derive(Clone, Debug)]
pub struct Http {
    agent: Agent,
    base: String,
    token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// As much of the body as came.
    pub body: Vec<u8>,
    /// Whether the body broke off before its end.
    pub broke_off: bool,
}

impl Http {
    /// A client for `http://HOST:PORT`, with a token if one is given.
    pub fn new(base: &str, token: Option<&str>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(DEADLINE))
            .allow_non_standard_methods(true)
            .build();
        Self {
            agent: config.new_agent(),
            base: base.trim_end_matches('/').to_owned(),
            token: token.map(str::to_owned),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method.clone()).uri(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response = if body.is_empty() && matches!(method, Method::GET | Method::HEAD | Method::DELETE) {
            self.agent.run(request.body(()).context("a request")?)
        } else {
            self.agent.run(request.body(body).context("a request")?)
        };
        let response = response.with_context(|| format!("{method} {url}"))?;
        Ok(Answer::read(response))
    }

    /// `GET`.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &[], &[])
    }

    /// `GET` of JSON that must succeed.
    ///
    /// # Errors
    /// When no answer comes, it is no success, or no JSON.
    pub fn get_json(&self, path: &str) -> Result<serde_json::Value> {
        self.get(path)?.ok()?.json()
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn post_json(&self, path: &str, body: &serde_json::Value) -> Result<Answer> {
        let body = serde_json::to_vec(body).context("JSON")?;
        self.send(Method::POST, path, &[("Content-Type", "application/json")], &body)
    }
}

impl Answer {
    fn read(response: Response<ureq::Body>) -> Self {
        let (head, body) = response.into_parts();
        let expected = body.content_length();
        let mut bytes = Vec::new();
        let read = body.into_reader().read_to_end(&mut bytes);
        let short = expected.is_some_and(|expected| (bytes.len() as u64) < expected);
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            broke_off: read.is_err() || short,
            body: bytes,
        }
    }

    /// The answer, if it is a success and whole.
    ///
    /// # Errors
    /// When it is not.
    pub fn ok(self) -> Result<Self> {
        if !(200..300).contains(&self.status) {
            bail!("answered {}: {}", self.status, self.text());
        }
        if self.broke_off {
            bail!("the answer broke off after {} bytes", self.body.len());
        }
        Ok(self)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.text()))
    }

    /// A header's value, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// A download that is read piece by piece, with nothing between the socket and the caller.
#[derive(Debug)]
pub struct Download {
    stream: TcpStream,
    /// Bytes of the body that came with the head.
    early: Vec<u8>,
    /// What `Content-Length` promised.
    pub length: u64,
    left: u64,
}

impl Download {
    /// Asks for a path by HTTP/1.1 and reads the head of the answer.
    ///
    /// # Errors
    /// When the answer is not 200, or has no length.
    pub fn start(server: SocketAddr, path: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
        stream.set_read_timeout(Some(DEADLINE)).context("a socket")?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"
        )
        .context("cannot ask")?;
        let mut head = Vec::new();
        let end = loop {
            let mut block = [0; 4096];
            let read = stream.read(&mut block).context("cannot read an answer")?;
            if read == 0 {
                bail!("{server} closed the connection instead of answering {path}");
            }
            head.extend_from_slice(&block[..read]);
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let early = head.split_off(end);
        let head = String::from_utf8_lossy(&head);
        if !head.starts_with("HTTP/1.1 200") {
            bail!("{path}: {}", head.lines().next().unwrap_or_default());
        }
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .with_context(|| format!("{path} came without a length"))?;
        Ok(Self {
            stream,
            left: length,
            early,
            length,
        })
    }

    /// Reads up to `buffer.len()` bytes of the body; 0 at its end.
    ///
    /// # Errors
    /// When the connection breaks before the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let read = if self.early.is_empty() {
            self.stream.read(buffer).context("the download broke off")?
        } else {
            let take = self.early.len().min(buffer.len());
            buffer[..take].copy_from_slice(&self.early[..take]);
            self.early.drain(..take);
            take
        };
        if read == 0 {
            bail!("the download broke off {} bytes before its end", self.left);
        }
        self.left -= read as u64;
        Ok(read)
    }

    /// Reads the rest and throws it away.
    ///
    /// # Errors
    /// When the connection breaks before the end.
    pub fn finish(mut self, buffer: &mut [u8]) -> Result<u64> {
        while self.read(buffer)? > 0 {}
        Ok(self.length)
    }
}
