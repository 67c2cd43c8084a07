//! The fake as a program: prints its address on the first line, and serves until it is killed.

use fake_aws::{Config, Credentials, FakeAws, Signatures};
use std::io::{self, Write};
use std::process::ExitCode;

const HELP: &str = "\
fake-aws: a fake of the EBS direct APIs and of EC2 on plain HTTP; see the crate's documentation

  --listen ADDRESS:PORT   where to listen [127.0.0.1:0]
  --region NAME           the region of credential scopes [us-east-1]
  --digests-only          keep no data, only digests; blocks cannot be read
  --no-signatures         do not look at signatures
  --secret ID:SECRET      verify signatures with these credentials
  --faults JSON           the switches at the start
  --seed NUMBER           of ids and faults [1]
  --threads NUMBER        that serve [2]

It prints its URL alone on the first line. Switches and log: URL/_control/faults, /log, /counters,
/peak, /snapshots, /expire, /resources, /hold.
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fake-aws: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--listen" => config.listen = value()?.parse()?,
            "--region" => config.region = value()?,
            "--digests-only" => config.keep_data = false,
            "--no-signatures" => config.signatures = Signatures::Off,
            "--secret" => {
                let value = value()?;
                let (id, secret) = value.split_once(':').ok_or("--secret is ID:SECRET")?;
                config.signatures = Signatures::Verify(vec![Credentials {
                    access_key: id.into(),
                    secret_key: secret.into(),
                    session_token: None,
                }]);
            }
            "--faults" => config.faults = serde_json::from_str(&value()?)?,
            "--seed" => config.seed = value()?.parse()?,
            "--threads" => config.threads = value()?.parse()?,
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(format!("unknown argument {other}; see --help").into()),
        }
    }
    let fake = FakeAws::start(config)?;
    println!("{}", fake.endpoint());
    // Whoever started it reads the address from a pipe.
    io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}
