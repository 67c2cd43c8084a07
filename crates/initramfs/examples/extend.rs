//! Extends an initramfs by drivers: `extend INITRAMFS MODULE-DIRECTORY NEW-INITRAMFS DRIVER...`.
//!
//! MODULE-DIRECTORY is `/lib/modules/RELEASE` of the guest.

use initramfs::{Initramfs, ModuleTree, Request};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

struct Directory {
    path: PathBuf,
    release: String,
}

impl ModuleTree for Directory {
    fn release(&self) -> &str {
        &self.release
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        match fs::read(self.path.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [original, modules, extended, wanted @ ..] = &arguments[..] else {
        return Err("usage: extend INITRAMFS MODULE-DIRECTORY NEW-INITRAMFS DRIVER...".into());
    };
    let path = Path::new(modules).canonicalize()?;
    let release = path
        .file_name()
        .ok_or("the module directory has no name")?
        .to_string_lossy()
        .into_owned();
    let tree = Directory { path, release };
    let original = fs::read(original)?;
    let initramfs = Initramfs::read(&original)?;
    for segment in initramfs.segments() {
        println!("{segment:?}");
    }
    println!("{}, stop {:?}", initramfs.kind(), initramfs.stop());
    let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
    println!("{:#?}", initramfs.assess(&tree, &wanted)?);
    let request = Request {
        wanted: &wanted,
        ..Request::default()
    };
    match initramfs.extend(&tree, &request)? {
        None => println!("nothing to add"),
        Some(extension) => {
            println!(
                "{:?}: {} bytes stay, {} bytes follow",
                extension.method,
                extension.keep,
                extension.tail.len()
            );
            for file in &extension.files {
                println!("{file}");
            }
            fs::write(extended, extension.apply(&original))?;
        }
    }
    Ok(())
}
