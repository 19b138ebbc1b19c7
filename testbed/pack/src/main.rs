//! Packs static binaries into a reproducible container image, without Docker.
//!
//! `pack --tag NAME:TAG --out FILE.tar BINARY=/path/in/image...` writes an archive that `docker load` and
//! `ctr images import` take. A binary that could not run in the image is refused, and all problems are named at once.

mod elf;
mod image;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::elf::{Linkage, Machine};
use crate::image::{Contents, File};

/// Packs static binaries into a container image for `docker load` and `ctr images import`: one layer, user 65532, the same
/// bytes for the same files.
#[derive(Debug, Parser)]
#[command(name = "pack")]
struct Arguments {
    /// Name and tag of the image, such as trimtab.dev/trimtab:dev
    #[arg(long, value_name = "NAME:TAG")]
    tag: String,
    /// Where the archive is written; it appears whole or not at all
    #[arg(long, value_name = "FILE.tar")]
    out: PathBuf,
    /// Command line prefix, one word each time it is given [default: the first binary's path]
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// A file that is not a program (certificates, configuration)
    #[arg(long = "file", value_name = "FILE=/PATH", value_parser = placed)]
    files: Vec<Placed>,
    /// A static binary and its place in the image
    #[arg(required = true, value_name = "BINARY=/PATH", value_parser = placed)]
    binaries: Vec<Placed>,
}

/// A file of this machine and its path in the image.
#[derive(Debug, Clone)]
struct Placed {
    source: PathBuf,
    path: String,
}

fn placed(argument: &str) -> Result<Placed, String> {
    let expected = "expected FILE=/path/in/image";
    let (source, path) = argument.rsplit_once('=').ok_or(expected)?;
    let plain = path.starts_with('/')
        && !path.ends_with('/')
        && path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if source.is_empty() || !plain {
        return Err(format!("{expected}, the path absolute and without \"..\""));
    }
    Ok(Placed { source: source.into(), path: path.to_owned() })
}

/// What is wrong with one thing that was to be packed.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} is dynamically linked (interpreter {interpreter}), and the image holds no dynamic linker: build it static \
         (Rust: -C target-feature=+crt-static, set in .cargo/config.toml, which a RUSTFLAGS variable overrides; Go: CGO_ENABLED=0; C: -static)",
        path.display()
    )]
    Dynamic { path: PathBuf, interpreter: String },
    #[error("{} is not a 64-bit ELF executable: expected a static Linux binary; other files go with --file", path.display())]
    NotElf { path: PathBuf },
    #[error("{} is built for ELF machine {machine}: expected x86_64 or aarch64", path.display())]
    Machine { path: PathBuf, machine: u16 },
    #[error("{} is built for {machine}, and the binaries before it for {expected}: an image has one architecture", path.display())]
    MixedMachines { path: PathBuf, machine: Machine, expected: Machine },
    #[error("{path} is given twice: each path in the image takes one file")]
    SamePath { path: String },
    #[error("tag \"{tag}\": expected NAME:TAG, such as trimtab.dev/trimtab:dev")]
    Tag { tag: String },
}

/// Reads and checks everything that was asked for; all problems at once.
fn contents(arguments: &Arguments) -> Result<Contents, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut files: Vec<File> = Vec::new();
    let mut image_machine = None;
    let tag = &arguments.tag;
    if !tag.rsplit_once(':').is_some_and(|(name, tag)| !name.is_empty() && !tag.is_empty() && !tag.contains('/')) {
        problems.push(Problem::Tag { tag: tag.clone() });
    }
    let binaries = arguments.binaries.iter().map(|placed| (placed, true));
    for (placed, executable) in binaries.chain(arguments.files.iter().map(|placed| (placed, false))) {
        let content = match std::fs::read(&placed.source) {
            Ok(content) => content,
            Err(source) => {
                problems.push(Problem::Read { path: placed.source.clone(), source });
                continue;
            }
        };
        if executable && let Err(problem) = runs_alone(&placed.source, &content, &mut image_machine) {
            problems.push(problem);
        }
        if files.iter().any(|file| file.path == placed.path) || placed.path == "/etc/passwd" {
            problems.push(Problem::SamePath { path: placed.path.clone() });
        }
        files.push(File { path: placed.path.clone(), content, executable });
    }
    let Some(machine) = image_machine.filter(|_| problems.is_empty()) else {
        return Err(problems);
    };
    let mut entrypoint = arguments.entrypoint.clone();
    if entrypoint.is_empty() {
        entrypoint.extend(arguments.binaries.first().map(|binary| binary.path.clone()));
    }
    Ok(Contents { tag: tag.clone(), machine, entrypoint, files })
}

/// Whether `content` starts in an image that holds nothing but it, on the one machine that all of its binaries are for.
fn runs_alone(path: &Path, content: &[u8], image_machine: &mut Option<Machine>) -> Result<(), Problem> {
    let path = path.to_owned();
    match elf::linkage(content) {
        Linkage::Static { machine } => {
            let expected = *image_machine.get_or_insert(machine);
            if machine == expected { Ok(()) } else { Err(Problem::MixedMachines { path, machine, expected }) }
        }
        Linkage::Dynamic { interpreter } => Err(Problem::Dynamic { path, interpreter }),
        Linkage::NotElf => Err(Problem::NotElf { path }),
        Linkage::OtherMachine(machine) => Err(Problem::Machine { path, machine }),
    }
}

/// Writes beside `out` and renames: a reader sees the old archive or the new one.
fn write_whole(out: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = out.as_os_str().to_owned();
    unfinished.push(format!(".{}.unfinished", std::process::id()));
    std::fs::write(&unfinished, bytes).and_then(|()| std::fs::rename(&unfinished, out)).inspect_err(|_| {
        // best effort: the error that is reported is the first one
        let _ = std::fs::remove_file(&unfinished);
    })
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let contents = match contents(&arguments) {
        Ok(contents) => contents,
        Err(problems) => {
            let mut stderr = io::stderr().lock();
            for problem in problems {
                writeln!(stderr, "pack: {problem}")?;
            }
            writeln!(stderr, "pack: nothing was written")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let archive = image::pack(&contents)?;
    write_whole(&arguments.out, &archive.bytes)
        .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", arguments.out.display()))?;
    writeln!(
        io::stdout(),
        "{} {} {} bytes {}",
        arguments.out.display(),
        contents.tag,
        archive.bytes.len(),
        archive.id
    )?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser as _;

    use super::{Arguments, contents, write_whole};
    use crate::elf::tests::elf;

    /// Writes the named files into a directory, then checks the arguments, in which `@` stands for the directory.
    fn problems(files: &[(&str, Vec<u8>)], arguments: &[&str]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        let at = directory.path().to_str().unwrap();
        let arguments = arguments.iter().map(|argument| argument.replace('@', at));
        let arguments =
            Arguments::try_parse_from(["pack", "--out", "out.tar"].map(String::from).into_iter().chain(arguments))
                .unwrap();
        let problems = contents(&arguments).err().unwrap_or_default();
        problems.iter().map(|problem| problem.to_string().replace(at, "@")).collect()
    }

    #[test]
    fn a_static_binary_is_accepted() {
        assert_eq!(problems(&[("a", elf(62, None))], &["--tag", "x:1", "@/a=/a"]), [""; 0]);
    }

    #[test]
    fn a_dynamic_binary_is_refused_with_its_interpreter_and_the_cure() {
        let problems = problems(&[("a", elf(62, Some("/lib64/ld.so")))], &["--tag", "x:1", "@/a=/a"]);
        assert_eq!(problems.len(), 1);
        let problem = problems.first().unwrap();
        assert!(problem.contains("interpreter /lib64/ld.so") && problem.contains("crt-static"), "{problem}");
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let files = [
            ("script", b"#!/bin/sh".to_vec()),
            ("arm", elf(183, None)),
            ("amd", elf(62, None)),
            ("riscv", elf(243, None)),
        ];
        let binaries =
            ["--tag", "untagged", "@/missing=/m", "@/script=/s", "@/amd=/a", "@/arm=/b", "@/riscv=/c", "@/amd=/a"];
        let problems = problems(&files, &binaries);
        let expected = [
            "tag \"untagged\"",
            "cannot read @/missing",
            "@/script is not",
            "@/arm is built for arm64",
            "machine 243",
            "/a is given twice",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn a_place_in_the_image_is_absolute_and_plain() {
        for wrong in ["a", "a=b", "a=/", "a=/x/../y", "=/a", "a=/x//y", "a=/x/"] {
            let error =
                Arguments::try_parse_from(["pack", "--tag", "x:1", "--out", "o", wrong]).unwrap_err().to_string();
            assert!(error.contains("FILE=/path/in/image"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("taken");
        std::fs::create_dir(&out).unwrap();
        assert!(write_whole(&out, b"archive").is_err());
        let left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [Path::new("taken").as_os_str()]);
    }
}
