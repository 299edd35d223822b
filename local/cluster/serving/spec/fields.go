package spec

// Template is the template of a revision.
type Template struct {
	Metadata Meta         `json:"metadata"`
	Spec     RevisionSpec `json:"spec"`
}

// Meta is the metadata of a template.
type Meta struct {
	Name         string            `json:"name"`
	GenerateName string            `json:"generateName"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
}

// RevisionSpec is what a revision runs, and how.
type RevisionSpec struct {
	// ContainerConcurrency is how many requests an instance takes at once, 0 for
	// any number.
	ContainerConcurrency *int64 `json:"containerConcurrency"`
	// TimeoutSeconds bounds a request, ResponseStartTimeoutSeconds the time to
	// the begin of the answer.
	TimeoutSeconds              *int64      `json:"timeoutSeconds"`
	ResponseStartTimeoutSeconds *int64      `json:"responseStartTimeoutSeconds"`
	ServiceAccountName          string      `json:"serviceAccountName"`
	AutomountToken              bool        `json:"automountServiceAccountToken"`
	Containers                  []Container `json:"containers"`
	Volumes                     []Volume    `json:"volumes"`
	ImagePullSecrets            []Reference `json:"imagePullSecrets"`
}

// Reference names an object.
type Reference struct {
	Name string `json:"name"`
	// Optional is whether it may be missing, where that makes sense.
	Optional bool `json:"optional"`
}

// KeyReference names one entry of a secret or config map.
type KeyReference struct {
	Reference
	Key string `json:"key"`
}

// Container is a container.
type Container struct {
	Name           string    `json:"name"`
	Image          string    `json:"image"`
	Command        []string  `json:"command"`
	Args           []string  `json:"args"`
	WorkingDir     string    `json:"workingDir"`
	Env            []EnvVar  `json:"env"`
	EnvFrom        []EnvFrom `json:"envFrom"`
	Ports          []Port    `json:"ports"`
	Resources      Resources `json:"resources"`
	ReadinessProbe *Probe    `json:"readinessProbe"`
	LivenessProbe  *Probe    `json:"livenessProbe"`
	StartupProbe   *Probe    `json:"startupProbe"`
	Security       *Security `json:"securityContext"`
	VolumeMounts   []Mount   `json:"volumeMounts"`
	Termination    string    `json:"terminationMessagePolicy"`
	PullPolicy     string    `json:"imagePullPolicy"`
}

// EnvVar is one variable.
type EnvVar struct {
	Name      string     `json:"name"`
	Value     string     `json:"value"`
	ValueFrom *EnvSource `json:"valueFrom"`
}

// EnvSource is where the value of a variable is.
type EnvSource struct {
	Secret *KeyReference `json:"secretKeyRef"`
	Config *KeyReference `json:"configMapKeyRef"`
}

// EnvFrom has all entries of an object be variables.
type EnvFrom struct {
	Prefix string     `json:"prefix"`
	Secret *Reference `json:"secretRef"`
	Config *Reference `json:"configMapRef"`
}

// Port is the port that a container listens on.
type Port struct {
	Name     string `json:"name"`
	Number   int64  `json:"containerPort"`
	Protocol string `json:"protocol"`
}

// Resources are the requests and limits, as quantities.
type Resources struct {
	Requests map[string]Quantity `json:"requests"`
	Limits   map[string]Quantity `json:"limits"`
}

// Probe is a question about the health of a container.
type Probe struct {
	HTTP             *HTTPGet `json:"httpGet"`
	TCP              *TCP     `json:"tcpSocket"`
	InitialDelay     int64    `json:"initialDelaySeconds"`
	Timeout          int64    `json:"timeoutSeconds"`
	Period           int64    `json:"periodSeconds"`
	SuccessThreshold int64    `json:"successThreshold"`
	FailureThreshold int64    `json:"failureThreshold"`
}

// HTTPGet is a probe by a GET: a status from 200 to 399 is good.
type HTTPGet struct {
	Path    string   `json:"path"`
	Port    any      `json:"port"`
	Scheme  string   `json:"scheme"`
	Host    string   `json:"host"`
	Headers []Header `json:"httpHeaders"`
}

// Header is one header of a probe.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TCP is a probe by a connection.
type TCP struct {
	Port any    `json:"port"`
	Host string `json:"host"`
}

// Security are the rights of a container.
type Security struct {
	RunAsUser    *int64 `json:"runAsUser"`
	RunAsGroup   *int64 `json:"runAsGroup"`
	RunAsNonRoot *bool  `json:"runAsNonRoot"`
	ReadOnlyRoot *bool  `json:"readOnlyRootFilesystem"`
	Privileged   bool   `json:"privileged"`
}

// Mount puts a volume into a container.
type Mount struct {
	Name     string `json:"name"`
	Path     string `json:"mountPath"`
	SubPath  string `json:"subPath"`
	ReadOnly bool   `json:"readOnly"`
}

// Volume is one of its sources.
type Volume struct {
	Name      string       `json:"name"`
	Secret    *SecretFiles `json:"secret"`
	ConfigMap *ConfigFiles `json:"configMap"`
	EmptyDir  *EmptyDir    `json:"emptyDir"`
	Projected *Projected   `json:"projected"`
}

// SecretFiles has the entries of a secret be files.
type SecretFiles struct {
	Name     string `json:"secretName"`
	Optional bool   `json:"optional"`
	Items    []Item `json:"items"`
	Mode     *int64 `json:"defaultMode"`
}

// ConfigFiles has the entries of a config map be files.
type ConfigFiles struct {
	Reference
	Items []Item `json:"items"`
	Mode  *int64 `json:"defaultMode"`
}

// Item is one file of a volume.
type Item struct {
	Key  string `json:"key"`
	Path string `json:"path"`
	Mode *int64 `json:"mode"`
}

// EmptyDir is a folder that lives as long as the instance.
type EmptyDir struct {
	Medium    string   `json:"medium"`
	SizeLimit Quantity `json:"sizeLimit"`
}

// Projected puts several sources into one folder.
type Projected struct {
	Mode    *int64       `json:"defaultMode"`
	Sources []Projection `json:"sources"`
}

// Projection is one source of a projected volume.
type Projection struct {
	Secret *ProjectedFiles `json:"secret"`
	Config *ProjectedFiles `json:"configMap"`
}

// ProjectedFiles are the files of one object in a projected volume.
type ProjectedFiles struct {
	Reference
	Items []Item `json:"items"`
}

// Target is one of the revisions that a route leads to.
type Target struct {
	Revision      string `json:"revisionName,omitempty"`
	Configuration string `json:"configurationName,omitempty"`
	Latest        *bool  `json:"latestRevision,omitempty"`
	Percent       *int64 `json:"percent,omitempty"`
	Tag           string `json:"tag,omitempty"`
	URL           string `json:"url,omitempty"`
}
