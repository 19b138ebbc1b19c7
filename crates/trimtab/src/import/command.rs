//! `trimtab import`: from the cluster, or from files.

use super::{Imported, Kind, list, source, text};
use crate::autoscalers;
use crate::cli;
use crate::commands::Printed;
use crate::watch;
use crate::words;
use anyhow::{Context, anyhow, bail};
use futures::future::BoxFuture;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What a prometheus-adapter's `ConfigMap` carries where its own chart installs it.
const ADAPTER: &str = "app.kubernetes.io/name=prometheus-adapter";

/// `trimtab import`. Exit code 4 where there is no such autoscaler, 1 where one gives no policy.
#[must_use]
pub fn import(command: &cli::Import) -> BoxFuture<'_, anyhow::Result<Printed>> {
    Box::pin(async move {
        let objects = if command.file.is_empty() {
            let client = client(command.context.as_deref()).await?;
            let target = command.target.as_ref().context("name an autoscaler, or a file with --file")?;
            of_cluster(&client, &target.namespace).await?
        } else {
            read_files(&command.file)?
        };
        Ok(print(&objects, command.target.as_ref()))
    })
}

/// Reads manifests: YAML or JSON, several documents, and lists as `kubectl get -o yaml` prints them.
pub fn read_files(files: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for file in files {
        let text = if file == Path::new("-") {
            std::io::read_to_string(std::io::stdin()).context("failed to read standard input")?
        } else {
            std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?
        };
        let mut line = 1;
        for document in documents(&text) {
            let lines = document.lines().count();
            let value: Option<Value> = serde_saphyr::from_str(&document).map_err(|error| {
                anyhow!(
                    "{}: the document that begins in line {line} is no YAML: {}",
                    file.display(),
                    error.without_snippet()
                )
            })?;
            line += lines + 1;
            match value {
                Some(value) if value.get("items").is_some() => objects.extend(list(&value, "/items").cloned()),
                Some(value) => objects.push(value),
                None => {}
            }
        }
    }
    Ok(objects)
}

/// The documents of a stream.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            documents.push(String::new());
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    documents
}

fn print(objects: &[Value], target: Option<&cli::Named>) -> Printed {
    let wanted = |imported: &Imported| {
        target.is_none_or(|target| {
            let scaled = imported.target.as_ref().is_some_and(|scaled| scaled.name == target.name);
            imported.source.namespace == target.namespace && (imported.source.name == target.name || scaled)
        })
    };
    let found: Vec<Imported> = objects.iter().filter_map(|object| super::of(object, objects)).filter(wanted).collect();
    if found.is_empty() {
        let what = target
            .map_or_else(String::new, |target| format!(" {} or for it in namespace {}", target.name, target.namespace));
        let text = format!(
            "there is no HorizontalPodAutoscaler or ScaledObject{what}; kubectl get hpa,scaledobject -A lists them\n"
        );
        return Printed { text, code: 4 };
    }
    let mut out = String::new();
    let mut failed = false;
    for (place, imported) in found.iter().enumerate() {
        if place > 0 {
            out.push_str("---\n");
        }
        if let Some(policy) = &imported.policy {
            out.push_str(policy);
        } else {
            failed = true;
            // Writing to a String cannot fail; a comment, so that the rest stays a document.
            let _ = writeln!(out, "# {}", imported.problem().unwrap_or_default());
        }
    }
    Printed { text: out, code: u8::from(failed) }
}

/// The cluster that the kubeconfig names.
pub(crate) async fn client(context: Option<&str>) -> anyhow::Result<Client> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = match context {
        Some(_) => Config::from_kubeconfig(&options).await.map_err(|error| words::without_secrets(&error)),
        None => Config::infer().await.map_err(|error| words::without_secrets(&error)),
    };
    let config = config.map_err(|error| anyhow!("failed to read the kubeconfig: set KUBECONFIG: {error}"))?;
    Client::try_from(config).context("failed to use the kubeconfig")
}

/// The autoscalers of a namespace with what they refer to.
pub(crate) async fn of_cluster(client: &Client, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    let vertical = ApiResource {
        group: "autoscaling.k8s.io".into(),
        version: "v1".into(),
        api_version: "autoscaling.k8s.io/v1".into(),
        kind: "VerticalPodAutoscaler".into(),
        plural: "verticalpodautoscalers".into(),
    };
    for resource in [autoscalers::resource(Kind::Hpa), autoscalers::resource(Kind::ScaledObject), vertical] {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        match api.list(&ListParams::default()).await {
            Ok(list) => objects.extend(list.into_iter().map(|object| typed(object, &resource))),
            // Its CRD is not installed.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => bail!("failed to list {} in namespace {namespace}: {}", resource.plural, words::api(&error)),
        }
    }
    let autoscalers: Vec<Value> = objects.iter().filter(|object| source(object).is_some()).cloned().collect();
    for autoscaler in &autoscalers {
        objects.extend(around(client, autoscaler).await.0);
    }
    Ok(objects)
}

/// An object of a list, which leaves out what it is.
pub(crate) fn typed(object: DynamicObject, resource: &ApiResource) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".into(), resource.api_version.clone().into());
        fields.insert("kind".into(), resource.kind.clone().into());
    }
    value
}

/// What an autoscaler refers to, as far as it can be read, and whether all of it could: what cannot is said where it is missed.
#[must_use]
pub fn around<'a>(client: &'a Client, autoscaler: &'a Value) -> BoxFuture<'a, (Vec<Value>, bool)> {
    Box::pin(async move {
        let (mut found, mut complete) = (Vec::new(), true);
        let namespace = autoscaler.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
        let reference = super::at(autoscaler, "/spec/scaleTargetRef");
        if let Ok(target) = super::scaled(namespace, reference)
            && let Ok(resource) = watch::resolve(client, &target.kind).await
        {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            match api.get_opt(&target.name).await {
                Ok(object) => found.extend(object.map(|object| typed(object, &resource))),
                Err(_) => complete = false,
            }
        }
        if list(autoscaler, "/spec/metrics")
            .any(|metric| ["Pods", "Object", "External"].contains(&text(metric, "/type")))
        {
            let resource = ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            match api.list(&ListParams::default().labels(ADAPTER)).await {
                Ok(maps) => found.extend(maps.into_iter().map(|map| typed(map, &resource))),
                Err(_) => complete = false,
            }
        }
        (found, complete)
    })
}
