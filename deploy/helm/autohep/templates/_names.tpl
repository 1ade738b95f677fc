{{- define "autohep.labels" -}}
app.kubernetes.io/name: autohep
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
{{- define "autohep.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end }}
{{- define "autohep.host" -}}
{{ regexReplaceAll ":[0-9]+$" . "" | trimAll "[]" }}
{{- end }}
{{- define "autohep.port" -}}
{{ regexReplaceAll "^.*:" . "" }}
{{- end }}
{{- define "autohep.kinds" -}}
- felixconfigurations
- globalnetworkpolicies
- globalnetworksets
- hostendpoints
- profiles
- stagedglobalnetworkpolicies
- tiers
{{- end }}
