{{- define "dormouse.name" -}}
{{- if contains "dormouse" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-dormouse" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "dormouse.selector" -}}
app.kubernetes.io/name: dormouse
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dormouse.labels" -}}
{{ include "dormouse.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "dormouse.brokerSecret" -}}
{{ .Values.broker.existingSecret | default (printf "%s-broker" (include "dormouse.name" .)) }}
{{- end }}

{{- define "dormouse.endpointsSecret" -}}
{{ .Values.webhooks.existingSecret | default (printf "%s-endpoints" (include "dormouse.name" .)) }}
{{- end }}

{{/* Which workload answers HTTP: index, api, or none. */}}
{{- define "dormouse.front" -}}
{{- if .Values.index.enabled }}index{{ else if .Values.api.enabled }}api{{ end }}
{{- end }}

{{/* What cannot be said in the schema. */}}
{{- define "dormouse.check" -}}
{{- $values := .Values }}
{{- if not (or $values.broker.existingSecret $values.broker.uri) }}
{{- fail "broker.uri or broker.existingSecret has to say where RabbitMQ is" }}
{{- end }}
{{- if and $values.index.enabled $values.api.enabled }}
{{- fail "index.enabled runs api.roles beside the index: leave api.enabled false" }}
{{- end }}
{{- if and $values.index.enabled (not (regexMatch "(?s)\\[ledger\\][^\\[]*\\benabled *= *true" $values.config)) }}
{{- fail "index.enabled takes [ledger] enabled = true in config" }}
{{- end }}
{{- if include "dormouse.front" . }}
{{- if not (or $values.api.tlsSecret $values.api.trustedProxies) }}
{{- fail "api.tlsSecret or api.trustedProxies is needed: passwords do not go over a network as they are" }}
{{- end }}
{{- if and (has "webhooks" $values.api.roles) (not (or $values.webhooks.existingSecret $values.webhooks.endpoints)) }}
{{- fail "the role webhooks takes webhooks.endpoints or webhooks.existingSecret" }}
{{- end }}
{{- end }}
{{- end }}

{{/* A pod. In: root, component, roles, resources, front (whether it answers HTTP), file (of an index). */}}
{{- define "dormouse.pod" -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- include "dormouse.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  annotations:
    checksum/config: {{ $values.config | sha256sum }}
    {{- if not $values.broker.existingSecret }}
    checksum/broker: {{ printf "%s %s" $values.broker.uri $values.broker.managementUri | sha256sum }}
    {{- end }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false # a Service dormouse would be DORMOUSE_… variables, which are no keys
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: { type: RuntimeDefault }
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "dormouse.selector" .root | nindent 10 }}
          app.kubernetes.io/component: {{ .component }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: dormouse
      image: "{{ $values.image.repository }}:{{ $values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [run]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      env:
        - name: DORMOUSE_CONFIG
          value: /etc/dormouse/dormouse.toml
        - name: DORMOUSE_SERVICE_ROLES
          value: {{ join "," .roles | quote }}
        - name: DORMOUSE_URI
          valueFrom: { secretKeyRef: { name: {{ include "dormouse.brokerSecret" .root }}, key: uri } }
        {{- if .front }}
        - name: DORMOUSE_MANAGEMENT_URI
          valueFrom: { secretKeyRef: { name: {{ include "dormouse.brokerSecret" .root }}, key: management-uri } }
        {{- end }}
        - name: DORMOUSE_HTTP_LISTEN
          value: "{{ $values.listen }}:15790"
        {{- if $values.broker.tlsSecret }}
        - name: DORMOUSE_BROKER_CA_FILE
          value: /etc/dormouse-broker/ca.crt
        {{- if $values.broker.clientCertificate }}
        - name: DORMOUSE_BROKER_CERT_FILE
          value: /etc/dormouse-broker/tls.crt
        - name: DORMOUSE_BROKER_KEY_FILE
          value: /etc/dormouse-broker/tls.key
        {{- end }}
        {{- end }}
        {{- if .front }}
        - name: DORMOUSE_API_LISTEN
          value: "{{ $values.listen }}:15791"
        {{- if $values.api.tlsSecret }}
        - name: DORMOUSE_API_CERT_FILE
          value: /etc/dormouse-tls/tls.crt
        - name: DORMOUSE_API_KEY_FILE
          value: /etc/dormouse-tls/tls.key
        {{- else }}
        - name: DORMOUSE_API_TRUSTED_PROXIES
          value: {{ join "," $values.api.trustedProxies | quote }}
        {{- end }}
        {{- if has "webhooks" .roles }}
        - name: DORMOUSE_WEBHOOKS_FILE
          value: /etc/dormouse-webhooks/endpoints.toml
        {{- end }}
        {{- end }}
        {{- if .file }}
        - name: DORMOUSE_INDEX_FILE
          value: {{ .file }}
        {{- end }}
      ports:
        - { name: metrics, containerPort: 15790 }
        {{- if .front }}
        - { name: api, containerPort: 15791 }
        {{- end }}
      # alive, while it waits for RabbitMQ, too
      livenessProbe:
        httpGet: { path: /healthz, port: metrics }
        periodSeconds: 10
        timeoutSeconds: 3
        failureThreshold: 6
      readinessProbe:
        httpGet: { path: /readyz, port: metrics }
        periodSeconds: 5
        timeoutSeconds: 3
      {{- if .front }}
      # the Service has to forget it before it stops to answer
      lifecycle:
        preStop: { sleep: { seconds: 5 } }
      {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - { name: config, mountPath: /etc/dormouse, readOnly: true }
        {{- if $values.broker.tlsSecret }}
        - { name: broker-tls, mountPath: /etc/dormouse-broker, readOnly: true }
        {{- end }}
        {{- if and .front $values.api.tlsSecret }}
        - { name: tls, mountPath: /etc/dormouse-tls, readOnly: true }
        {{- end }}
        {{- if and .front (has "webhooks" .roles) }}
        - { name: endpoints, mountPath: /etc/dormouse-webhooks, readOnly: true }
        {{- end }}
        {{- if .file }}
        - { name: index, mountPath: {{ dir .file }} }
        {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ include "dormouse.name" .root }} }
    {{- if $values.broker.tlsSecret }}
    - name: broker-tls
      secret: { secretName: {{ $values.broker.tlsSecret }}, defaultMode: 0440 }
    {{- end }}
    {{- if and .front $values.api.tlsSecret }}
    - name: tls
      secret: { secretName: {{ $values.api.tlsSecret }}, defaultMode: 0440 }
    {{- end }}
    {{- if and .front (has "webhooks" .roles) }}
    - name: endpoints
      secret: { secretName: {{ include "dormouse.endpointsSecret" .root }}, defaultMode: 0440 }
    {{- end }}
{{- end }}
