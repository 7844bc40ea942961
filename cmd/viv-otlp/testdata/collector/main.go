// Collector is a small OpenTelemetry Collector, made of the official modules,
// for viv-otlp's tests: what it wrote has to be what was sent. It is a module
// of its own, so that viv does not depend on a hundred others.
package main

import (
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/nopexporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/processor/memorylimiterprocessor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

func main() {
	err := otelcol.NewCommand(otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{Command: "otelcol", Version: "0.155.0"},
		Factories: factories,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			ProviderFactories: []confmap.ProviderFactory{envprovider.NewFactory(), fileprovider.NewFactory()},
		}},
	}).Execute()
	if err != nil {
		os.Exit(1) // it has been printed
	}
}

func factories() (otelcol.Factories, error) {
	return otelcol.Factories{
		Telemetry:  otelconftelemetry.NewFactory(),
		Extensions: byType[extension.Factory](filestorage.NewFactory()),
		Receivers:  byType[receiver.Factory](otlpreceiver.NewFactory()),
		Processors: byType[processor.Factory](batchprocessor.NewFactory(), memorylimiterprocessor.NewFactory()),
		Exporters: byType[exporter.Factory](fileexporter.NewFactory(), nopexporter.NewFactory(),
			otlpexporter.NewFactory(), otlphttpexporter.NewFactory()),
	}, nil
}

func byType[F component.Factory](list ...F) map[component.Type]F {
	m := map[component.Type]F{}
	for _, f := range list {
		m[f.Type()] = f
	}
	return m
}
