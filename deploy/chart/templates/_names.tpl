{{- define "trimtab.labels" -}}
app.kubernetes.io/name: trimtab
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "trimtab.selector" -}}
app.kubernetes.io/name: trimtab
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Objects without a namespace carry the release's, so that two releases do not share them. */}}
{{- define "trimtab.global" -}}
trimtab-{{ .Release.Namespace }}
{{- end }}

{{- define "trimtab.read" -}}
- { apiGroups: [apps], resources: [deployments, statefulsets, replicasets], verbs: [get, list, watch] }
- { apiGroups: [""], resources: [pods, configmaps], verbs: [list, watch] }
- { apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [list, watch] }
- { apiGroups: [keda.sh], resources: [scaledobjects], verbs: [list, watch] }
{{- if .Values.writes }}
- { apiGroups: [apps], resources: [deployments, statefulsets], verbs: [patch] }
- { apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch] }
- { apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [patch] }
- { apiGroups: [keda.sh], resources: [scaledobjects], verbs: [patch] }
{{- end }}
{{- with .Values.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end }}
