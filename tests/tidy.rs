//! The house rules, as tests: what a reviewer should not have to look for.
#![expect(clippy::print_stdout, reason = "prints the figures that it measures")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use syn::spanned::Spanned;
use syn::visit::Visit;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The files that belong to the repository: those that git tracks or would track.
fn files(extension: &str) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is there");
    let names = String::from_utf8(output.stdout).expect("names are UTF-8");
    let suffix = format!(".{extension}");
    names
        .lines()
        .filter(|name| name.ends_with(&suffix))
        .map(|name| root().join(name))
        .filter(|path| path.exists())
        .collect()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

// === what depends on what ===

/// Direct dependencies of each crate of the workspace, development ones left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo is there");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata.get("packages").and_then(serde_json::Value::as_array).expect("packages");
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap_or_default().to_owned();
    packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().expect("dependencies");
            (name(package), all.iter().filter(|one| one["kind"].is_null()).map(name).collect())
        })
        .collect()
}

#[test]
fn the_core_depends_on_serde_and_libm_alone() {
    let expected: BTreeSet<String> = ["libm", "serde"].map(str::to_owned).into();
    assert_eq!(dependencies()["trimtab-core"], expected);
}

#[test]
fn the_protocol_depends_on_nothing() {
    assert_eq!(dependencies()["trimtab-claim"], BTreeSet::new());
}

#[test]
fn only_the_shell_knows_the_network() {
    let network = ["tokio", "kube", "k8s-openapi", "axum", "reqwest", "hyper", "futures"];
    for (name, dependencies) in dependencies() {
        if ["trimtab-core", "trimtab-claim", "trimtab-hpa", "trimtab-sim", "trimtab-journal", "trimtab-pack"]
            .contains(&name.as_str())
        {
            let found: Vec<&str> = network.into_iter().filter(|one| dependencies.contains(*one)).collect();
            assert!(found.is_empty(), "{name} depends on {found:?}");
        }
    }
}

#[test]
fn there_is_one_tls_provider() {
    let lock = text(&root().join("Cargo.lock"));
    for banned in ["aws-lc-rs", "aws-lc-sys", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{banned}\"")), "{banned} is in Cargo.lock: cargo tree -i {banned}");
    }
}

// === what the code looks like ===

#[derive(Default)]
struct Functions {
    /// Name, first line, number of lines, and whether a parameter is a bare number.
    all: Vec<(String, usize, usize, bool)>,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let tokio = path.segments.last().is_some_and(|last| last.ident == "test");
        let configured =
            path.is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test");
        tokio || configured
    })
}

fn bare_number(inputs: &syn::punctuated::Punctuated<syn::FnArg, syn::Token![,]>) -> bool {
    const NUMBERS: [&str; 12] =
        ["f32", "f64", "u8", "u16", "u32", "u64", "u128", "usize", "i32", "i64", "i128", "isize"];
    inputs.iter().any(|input| match input {
        syn::FnArg::Typed(typed) => match &*typed.ty {
            syn::Type::Path(path) => NUMBERS.iter().any(|number| path.path.is_ident(number)),
            _ => false,
        },
        syn::FnArg::Receiver(_) => false,
    })
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        self.all.push((signature.ident.to_string(), first, last - first + 1, bare_number(&signature.inputs)));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.add(&item.sig, &item.block);
            syn::visit::visit_item_fn(self, item);
        }
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }
}

fn functions(path: &Path) -> Functions {
    let parsed = syn::parse_file(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", shown(path)));
    let mut functions = Functions::default();
    functions.visit_file(&parsed);
    functions
}

fn production() -> Vec<PathBuf> {
    let of = |path: &PathBuf| {
        let name = shown(path);
        name.contains("/src/") && !name.ends_with("/tests.rs")
    };
    files("rs").into_iter().filter(of).collect()
}

#[test]
fn no_function_is_longer_than_a_screen() {
    const LONGEST: usize = 70;
    let mut found = Vec::new();
    let mut lengths = Vec::new();
    for path in production() {
        for (name, line, length, _) in functions(&path).all {
            lengths.push(length);
            if length > LONGEST {
                found.push(format!("{}:{line} {name}: {length} lines", shown(&path)));
            }
        }
    }
    lengths.sort_unstable();
    let at = |share: usize| lengths.get(lengths.len() * share / 100).copied().unwrap_or_default();
    println!("{} functions, lines: median {}, p95 {}, most {:?}", lengths.len(), at(50), at(95), lengths.last());
    assert_none("functions of more than 70 lines", &found);
}

#[test]
fn the_core_takes_no_bare_numbers() {
    let mut found = Vec::new();
    for path in production()
        .into_iter()
        .filter(|path| shown(path).starts_with("crates/core/src/") && !path.ends_with("unit.rs"))
    {
        for (name, line, _, bare) in functions(&path).all {
            if bare && name != "push_bounded" {
                found.push(format!("{}:{line} {name}", shown(&path)));
            }
        }
    }
    assert_none("functions of the core with a number that has no unit", &found);
}

#[test]
fn every_file_is_compiled() {
    let mut found = Vec::new();
    for path in files("rs") {
        let Some(directory) = path.parent() else { continue };
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let top = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_root = ["main", "lib"].contains(&stem) || ["tests", "benches", "examples"].contains(&top);
        if is_root {
            continue;
        }
        // `mod name;` stands in the file of the folder, or in one beside it.
        let (name, folder) =
            if stem == "mod" { (top, directory.parent().unwrap_or(directory)) } else { (stem, directory) };
        // Beside `tests/` every file is a root of its own.
        let beside = std::fs::read_dir(folder).expect("a folder").filter_map(|entry| Some(entry.ok()?.path()));
        let parents: Vec<PathBuf> =
            beside.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect();
        let own = folder.with_extension("rs");
        let declared =
            parents.iter().chain([&own]).filter(|parent| parent.exists() && **parent != path).any(|parent| {
                let text = text(parent);
                text.lines().any(|line| line.trim_end().ends_with(&format!("mod {name};")))
            });
        if !declared {
            found.push(shown(&path));
        }
    }
    assert_none("files that no `mod` names", &found);
}

#[test]
fn names_say_something() {
    let banned = ["util", "utils", "helper", "helpers", "common", "misc", "manager"];
    let found: Vec<String> = files("rs")
        .iter()
        .filter(|path| {
            path.components()
                .any(|part| banned.contains(&part.as_os_str().to_str().unwrap_or_default().trim_end_matches(".rs")))
        })
        .map(|path| shown(path))
        .collect();
    assert_none("files whose name says nothing", &found);
}

#[test]
fn nothing_is_left_open() {
    // Written in two halves, so that this file does not find itself.
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["unimplem", "ented!"], ["#[ign", "ore"]]
        .map(|halves| halves.concat());
    let mut found = Vec::new();
    for path in files("rs").iter().chain(&files("sh")).chain(&files("md")) {
        for (number, line) in text(path).lines().enumerate() {
            // What `./bench` runs is no test that waits to be mended.
            let measures = line.contains("= \"a measurement");
            if !measures && words.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {}", shown(path), number + 1, line.trim()));
            }
        }
    }
    assert_none("left open", &found);
}

#[test]
fn nothing_names_the_machine_that_it_was_made_on() {
    let places = [["/wo", "rk/"], ["/ro", "ot/"], ["/home", "/"]].map(|halves| halves.concat());
    let mut found = Vec::new();
    for extension in ["rs", "md", "toml", "yaml", "json", "sh"] {
        for path in files(extension) {
            for (number, line) in text(&path).lines().enumerate() {
                if places.iter().any(|place| line.contains(place.as_str())) {
                    found.push(format!("{}:{}", shown(&path), number + 1));
                }
            }
        }
    }
    assert_none("absolute paths", &found);
}

#[test]
fn every_crate_keeps_the_lints() {
    for path in files("toml").iter().filter(|path| path.ends_with("Cargo.toml") && **path != root().join("Cargo.toml"))
    {
        assert!(text(path).contains("[lints]\nworkspace = true"), "{}: add [lints] workspace = true", shown(path));
    }
}

// === what the documents say ===

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let letters = heading.trim().to_lowercase();
    letters
        .chars()
        .filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter))
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut found = Vec::new();
    for path in files("md") {
        let document = text(&path);
        for (number, line) in document.lines().enumerate() {
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if link.contains("://") || link.is_empty() {
                    continue;
                }
                let (file, heading) =
                    link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
                let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
                let leads = target.exists()
                    && heading.is_none_or(|heading| {
                        text(&target)
                            .lines()
                            .any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#')) == heading)
                    });
                if !leads {
                    found.push(format!("{}:{}: {link}", shown(&path), number + 1));
                }
            }
        }
    }
    assert_none("links that lead nowhere", &found);
}

#[test]
fn every_invariant_of_the_architecture_has_its_test() {
    let document = text(&root().join("ARCHITECTURE.md"));
    let code: String = files("rs").iter().map(|path| text(path)).collect();
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| **")).collect();
    assert!(rows.len() >= 8, "invariants stand in a table whose rows begin with `| **`");
    let mut found = Vec::new();
    for row in rows {
        let tests: Vec<&str> = row.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            found.push(format!("no test: {row}"));
        }
        found.extend(
            tests
                .iter()
                .filter(|test| !code.contains(&format!("fn {test}(")))
                .map(|test| format!("no such test: {test}")),
        );
    }
    assert_none("invariants without a test", &found);
}

#[test]
fn every_flag_and_every_reason_is_documented() {
    let reference: String =
        files("md").iter().filter(|path| shown(path).starts_with("docs/")).map(|path| text(path)).collect();
    let decision = text(&root().join("crates/core/src/decision.rs"));
    let codes = decision.split('"').filter(|word| word.starts_with("TT-R"));
    let flags = text(&root().join("crates/trimtab/src/cli.rs"));
    let flags: Vec<String> = flags
        .split("env = \"TRIMTAB_")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .map(|name| format!("TRIMTAB_{name}"))
        .collect();
    assert!(!flags.is_empty());
    let missing: Vec<String> =
        codes.map(str::to_owned).chain(flags).filter(|word| !reference.contains(word.as_str())).collect();
    assert_none("not in docs/", &missing);
}
