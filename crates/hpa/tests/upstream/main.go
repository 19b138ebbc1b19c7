// Answers cases of `trimtab hpa --cases` with upstream's own controller: one JSON object a line in, one out. `build` puts this file
// beside horizontal.go, replica_calculator.go and rate_limiters.go of Kubernetes, in which time.Now() is the case's `now`.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	autoscalingclient "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	corelisters "k8s.io/client-go/listers/core/v1"
	scaleclient "k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	metricsclient "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/monitor"
	"k8s.io/kubernetes/pkg/controller/util/selectors"
	custom "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	external "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	resourceclient "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
	customclient "k8s.io/metrics/pkg/client/custom_metrics"
	externalclient "k8s.io/metrics/pkg/client/external_metrics"
)

type event struct {
	At     metav1.Time `json:"at"`
	Change int32       `json:"change"`
}

type fleetCase struct {
	ID              json.RawMessage                         `json:"id"`
	Now             metav1.Time                             `json:"now"`
	HPA             *autoscalingv2.HorizontalPodAutoscaler  `json:"hpa"`
	Scale           *autoscalingv1.Scale                    `json:"scale"`
	Pods            []v1.Pod                                `json:"pods"`
	PodMetrics      []metrics.PodMetrics                    `json:"podMetrics"`
	PodsMetrics     map[string]map[string]resource.Quantity `json:"podsMetrics"`
	ObjectMetrics   map[string]resource.Quantity            `json:"objectMetrics"`
	ExternalMetrics map[string][]resource.Quantity          `json:"externalMetrics"`
	Controller      struct {
		Tolerance               *float64         `json:"tolerance"`
		CPUInitializationPeriod *metav1.Duration `json:"cpuInitializationPeriod"`
		InitialReadinessDelay   *metav1.Duration `json:"initialReadinessDelay"`
		DownscaleStabilization  *metav1.Duration `json:"downscaleStabilization"`
		FeatureGates            map[string]bool  `json:"featureGates"`
	} `json:"controller"`
	Recommendations []struct {
		At       metav1.Time `json:"at"`
		Replicas int32       `json:"replicas"`
	} `json:"recommendations"`
	ScaleUpEvents   []event `json:"scaleUpEvents"`
	ScaleDownEvents []event `json:"scaleDownEvents"`
}

type metricAnswer struct {
	Name     string  `json:"name"`
	Proposal *int32  `json:"proposal"`
	Usage    *string `json:"usage"`
	Error    *string `json:"error"`
}

type condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
	Reason string `json:"reason"`
}

type answer struct {
	ID         json.RawMessage `json:"id"`
	Metrics    []metricAnswer  `json:"metrics"`
	Proposal   *int32          `json:"proposal"`
	Desired    int32           `json:"desired"`
	Conditions []condition     `json:"conditions"`
	Panic      string          `json:"panic,omitempty"`
}

// What the copied controller sees of the case that is being answered.
var (
	current   *fleetCase
	answering *answer
	proposed  int
)

func caseNow() time.Time { return current.Now.Time }

// === what the controller reads and writes ===

type target struct{ desired *int32 }

func (t target) Scales(string) scaleclient.ScaleInterface { return scale{t.desired, nil} }

type scale struct {
	desired *int32
	scaleclient.ScaleInterface
}

func (s scale) Get(context.Context, schema.GroupResource, string, metav1.GetOptions) (*autoscalingv1.Scale, error) {
	return current.Scale.DeepCopy(), nil
}

func (s scale) Update(_ context.Context, _ schema.GroupResource, written *autoscalingv1.Scale, _ metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	*s.desired = written.Spec.Replicas
	return written, nil
}

type autoscalers struct {
	status *autoscalingv2.HorizontalPodAutoscalerStatus
}

func (a autoscalers) HorizontalPodAutoscalers(string) autoscalingclient.HorizontalPodAutoscalerInterface {
	return autoscaler{a.status, nil}
}

type autoscaler struct {
	status *autoscalingv2.HorizontalPodAutoscalerStatus
	autoscalingclient.HorizontalPodAutoscalerInterface
}

func (a autoscaler) UpdateStatus(_ context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, _ metav1.UpdateOptions) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	*a.status = hpa.Status
	return hpa, nil
}

type mapper struct{ apimeta.RESTMapper }

func (mapper) RESTMappings(schema.GroupKind, ...string) ([]*apimeta.RESTMapping, error) {
	return []*apimeta.RESTMapping{{}}, nil
}

// === what the metrics APIs answer ===

var errAbsent = errors.New("the metric is not in the case")

type resourceMetrics struct{}

func (resourceMetrics) PodMetricses(namespace string) resourceclient.PodMetricsInterface {
	return podMetrics{namespace, nil}
}

type podMetrics struct {
	namespace string
	resourceclient.PodMetricsInterface
}

func (p podMetrics) List(_ context.Context, options metav1.ListOptions) (*metrics.PodMetricsList, error) {
	selector, err := labels.Parse(options.LabelSelector)
	if err != nil {
		return nil, err
	}
	list := &metrics.PodMetricsList{}
	for _, sample := range current.PodMetrics {
		if len(sample.Labels) > 0 && !selector.Matches(labels.Set(sample.Labels)) {
			continue
		}
		if p.namespace != "" && sample.Namespace != "" && sample.Namespace != p.namespace {
			continue
		}
		list.Items = append(list.Items, sample)
	}
	return list, nil
}

type customMetrics struct{}

func (customMetrics) RootScopedMetrics() customclient.MetricsInterface       { return customMetrics{} }
func (customMetrics) NamespacedMetrics(string) customclient.MetricsInterface { return customMetrics{} }
func (customMetrics) GetForObject(_ schema.GroupKind, _ string, name string, _ labels.Selector) (*custom.MetricValue, error) {
	value, found := current.ObjectMetrics[name]
	if !found {
		return nil, errAbsent
	}
	return &custom.MetricValue{Value: value}, nil
}

func (customMetrics) GetForObjects(_ schema.GroupKind, _ labels.Selector, name string, _ labels.Selector) (*custom.MetricValueList, error) {
	values, found := current.PodsMetrics[name]
	if !found {
		return nil, errAbsent
	}
	list := &custom.MetricValueList{}
	for pod, value := range values {
		list.Items = append(list.Items, custom.MetricValue{DescribedObject: v1.ObjectReference{Name: pod}, Value: value})
	}
	return list, nil
}

type externalMetrics struct{}

func (externalMetrics) NamespacedMetrics(string) externalclient.MetricsInterface {
	return externalMetrics{}
}
func (externalMetrics) List(name string, _ labels.Selector) (*external.ExternalMetricValueList, error) {
	values, found := current.ExternalMetrics[name]
	if !found {
		return nil, errAbsent
	}
	list := &external.ExternalMetricValueList{}
	for _, value := range values {
		list.Items = append(list.Items, external.ExternalMetricValue{Value: value})
	}
	return list, nil
}

// === what the controller says on its way ===

func name(spec autoscalingv2.MetricSpec) string {
	switch {
	case spec.Type == autoscalingv2.ResourceMetricSourceType && spec.Resource != nil:
		return string(spec.Resource.Name)
	case spec.Type == autoscalingv2.ContainerResourceMetricSourceType && spec.ContainerResource != nil:
		return string(spec.ContainerResource.Name)
	case spec.Type == autoscalingv2.PodsMetricSourceType && spec.Pods != nil:
		return spec.Pods.Metric.Name
	case spec.Type == autoscalingv2.ObjectMetricSourceType && spec.Object != nil:
		return spec.Object.Metric.Name
	case spec.Type == autoscalingv2.ExternalMetricSourceType && spec.External != nil:
		return spec.External.Metric.Name
	}
	return string(spec.Type)
}

func usage(status *autoscalingv2.MetricStatus) *string {
	var value autoscalingv2.MetricValueStatus
	switch {
	case status.Resource != nil:
		value = status.Resource.Current
	case status.ContainerResource != nil:
		value = status.ContainerResource.Current
	case status.Pods != nil:
		value = status.Pods.Current
	case status.Object != nil:
		value = status.Object.Current
	case status.External != nil:
		value = status.External.Current
	}
	text := ""
	switch {
	case value.AverageUtilization != nil:
		text = fmt.Sprintf("%d%%", *value.AverageUtilization)
	case value.AverageValue != nil:
		text = value.AverageValue.String()
	case value.Value != nil:
		text = value.Value.String()
	}
	return &text
}

// computeReplicasForMetric stands before upstream's own, and keeps what it answers.
func (a *HorizontalController) computeReplicasForMetric(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, spec autoscalingv2.MetricSpec,
	specReplicas, statusReplicas int32, selector labels.Selector, status *autoscalingv2.MetricStatus) (int32, string, time.Time, autoscalingv2.HorizontalPodAutoscalerCondition, error) {
	replicas, metric, at, condition, err := a.upstreamReplicasForMetric(ctx, hpa, spec, specReplicas, statusReplicas, selector, status)
	said := &answering.Metrics[proposed]
	if err != nil {
		text := err.Error()
		said.Error = &text
	} else {
		kept := replicas
		said.Proposal, said.Usage = &kept, usage(status)
	}
	proposed++
	return replicas, metric, at, condition, err
}

// computeReplicasForMetrics stands before upstream's own, and keeps the number that won.
func (a *HorizontalController) computeReplicasForMetrics(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, scale *autoscalingv1.Scale,
	specs []autoscalingv2.MetricSpec) (int32, string, []autoscalingv2.MetricStatus, time.Time, error) {
	replicas, metric, statuses, at, err := a.upstreamReplicasForMetrics(ctx, hpa, scale, specs)
	if replicas != -1 {
		kept := replicas
		answering.Proposal = &kept
	}
	return replicas, metric, statuses, at, err
}

// === a case and its answer ===

func span(given *metav1.Duration, otherwise time.Duration) time.Duration {
	if given == nil {
		return otherwise
	}
	return given.Duration
}

func events(given []event) []timestampedScaleEvent {
	var kept []timestampedScaleEvent
	for _, one := range given {
		kept = append(kept, timestampedScaleEvent{one.Change, one.At.Time, false})
	}
	return kept
}

func setGates(wanted map[string]bool) {
	gates := map[string]bool{"HPAScaleToZero": false, "HPAConfigurableTolerance": true, "PodLevelResources": true, "InPlacePodLevelResourcesVerticalScaling": false}
	for gate, on := range wanted {
		gates[gate] = on
	}
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(gates); err != nil {
		panic(err)
	}
}

func controllerOf(c *fleetCase, desired *int32, status *autoscalingv2.HorizontalPodAutoscalerStatus, key string) *HorizontalController {
	pods := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for i := range c.Pods {
		pod := &c.Pods[i]
		if pod.Namespace == "" {
			pod.Namespace = c.HPA.Namespace
		}
		if err := pods.Add(pod); err != nil {
			panic(err)
		}
	}
	tolerance := 0.1
	if c.Controller.Tolerance != nil {
		tolerance = *c.Controller.Tolerance
	}
	controller := &HorizontalController{
		scaleNamespacer:              target{desired},
		hpaNamespacer:                autoscalers{status},
		mapper:                       mapper{},
		tolerance:                    tolerance,
		eventRecorder:                &record.FakeRecorder{},
		downscaleStabilisationWindow: span(c.Controller.DownscaleStabilization, 5*time.Minute),
		monitor:                      monitor.New(),
		podLister:                    corelisters.NewPodLister(pods),
		recommendations:              map[string][]timestampedRecommendation{},
		scaleUpEvents:                map[string][]timestampedScaleEvent{key: events(c.ScaleUpEvents)},
		scaleDownEvents:              map[string][]timestampedScaleEvent{key: events(c.ScaleDownEvents)},
		hpaSelectors:                 selectors.NewBiMultimap(),
	}
	if c.Recommendations != nil {
		kept := []timestampedRecommendation{}
		for _, one := range c.Recommendations {
			kept = append(kept, timestampedRecommendation{one.Replicas, one.At.Time})
		}
		controller.recommendations[key] = kept
	}
	client := metricsclient.NewRESTMetricsClient(resourceMetrics{}, customMetrics{}, externalMetrics{})
	controller.replicaCalc = NewReplicaCalculator(client, controller.podLister,
		span(c.Controller.CPUInitializationPeriod, 5*time.Minute), span(c.Controller.InitialReadinessDelay, 30*time.Second))
	return controller
}

func answerTo(c *fleetCase) (said answer) {
	said = answer{ID: c.ID, Metrics: []metricAnswer{}, Conditions: []condition{}, Desired: c.Scale.Spec.Replicas}
	for _, spec := range c.HPA.Spec.Metrics {
		said.Metrics = append(said.Metrics, metricAnswer{Name: name(spec)})
	}
	current, answering, proposed = c, &said, 0
	defer func() {
		if cause := recover(); cause != nil {
			said = answer{ID: c.ID, Panic: fmt.Sprint(cause)}
		}
	}()
	setGates(c.Controller.FeatureGates)
	key := c.HPA.Namespace + "/" + c.HPA.Name
	status := c.HPA.Status
	// The error is in the answer already: of a metric, or as a condition.
	_ = controllerOf(c, &said.Desired, &status, key).reconcileAutoscaler(context.Background(), c.HPA, key)
	for _, one := range status.Conditions {
		said.Conditions = append(said.Conditions, condition{string(one.Type), string(one.Status), one.Reason})
	}
	return said
}

func main() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	for number := 1; lines.Scan(); number++ {
		one := &fleetCase{}
		if err := json.Unmarshal(lines.Bytes(), one); err != nil {
			fmt.Fprintf(os.Stderr, "line %d: %v\n", number, err)
			continue
		}
		if err := encoder.Encode(answerTo(one)); err != nil {
			fmt.Fprintf(os.Stderr, "line %d: %v\n", number, err)
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
