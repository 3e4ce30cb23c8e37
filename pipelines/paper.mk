# The whole paper as one graph: what each result is made of. 'make paper' and 'make run'
# call it, with
#
#   MODEL     a model directory or GGUF file      MODE      how tokenize reads the texts
#   TEXT      for the triggers                    SENTENCES how many of its sentences; empty: all
#   VALID     for section 5, the aggregation      PREFIXES  random prefixes of it, or all
#   OUT       the folder of results               KEYS      keys a layer for token removal; 0: all
#   BIN       the folder of the tools             REMOVALS  triggers of each of these keys
#   ANNOTATIONS  CSV files that readers of the annotation page saved
#
# and the names of targets, of those below; all is the default.
#
# A target is made again when something that it is made of is newer: texts, the model's
# files, tools and scripts, and options, of which each set is a file in OUT/.options that
# is written only when what it says changes. Every file appears when it is complete, so a
# run that was interrupted goes on where it was.

SCRIPTS := $(dir $(lastword $(MAKEFILE_LIST)))
OPTIONS := $(OUT)/.options
# The clone's path may have spaces or dollars, so BIN is relative to it, and neither is expanded here.
export PATH := $(if $(filter /%,$(BIN)),$(BIN),$(CURDIR)/$(BIN)):$(value PATH)

# $(call tokenizing,TEXT)
tokenizing = --mode $(MODE) --name "$(basename $(notdir $(1)))"
limited := $(call tokenizing,$(TEXT))$(if $(SENTENCES), --limit $(SENTENCES))
removed := --sample $(KEYS) --top $(REMOVALS)
sampled := $(if $(filter all,$(PREFIXES)),--all,--prefixes $(PREFIXES)) $(call tokenizing,$(VALID))

model_files := $(if $(wildcard $(MODEL)/config.json),$(wildcard $(addprefix $(MODEL)/,*.json *.safetensors *.txt)),$(MODEL))

# $(call made_of,SCRIPT,TOOLS): a script and the tools that it runs
made_of = $(SCRIPTS)$(1) $(addprefix $(BIN)/,$(2))

all: triggers agreement composition refinement perturbation shallow annotation figures report
triggers: $(OUT)/triggers.msgpack
agreement: $(OUT)/agreement.csv
composition: $(OUT)/composition.csv
refinement: $(OUT)/refinement.csv
perturbation: $(OUT)/perturbation.csv
shallow: $(OUT)/shallow.csv
annotation: $(OUT)/annotation.html $(if $(ANNOTATIONS),$(OUT)/patterns.csv)
figures: $(OUT)/figures/.complete
report: $(OUT)/report/index.html

# ---- options ----

$(OPTIONS)/model: export WORDS = $(MODEL)
$(OPTIONS)/triggers: export WORDS = $(TEXT) $(limited)
$(OPTIONS)/aggregation: export WORDS = $(VALID) $(sampled)
$(OPTIONS)/perturbation: export WORDS = $(removed)
$(OPTIONS)/annotations: export WORDS = $(ANNOTATIONS)
$(OPTIONS)/%: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' "$$WORDS" | cmp -s - $@ || printf '%s\n' "$$WORDS" > $@

# $(call option_row,EXPERIMENTS,SET): a set as a row of CSV
option_row = sed 's/"/""/g; s/^/$(1),"/; s/$$/"/' $(OPTIONS)/$(2)
$(OUT)/options.csv: $(addprefix $(OPTIONS)/,model triggers aggregation perturbation annotations)
	@{ echo experiments,options && $(call option_row,all,model) && $(call option_row,triggers and shallow,triggers) && \
		$(call option_row,composition and refinement,aggregation) && $(call option_row,perturbation,perturbation) && \
		$(call option_row,patterns,annotations); } > $@.new
	@mv $@.new $@

# ---- experiments ----

$(OUT)/triggers.msgpack: $(TEXT) $(model_files) $(OPTIONS)/model $(OPTIONS)/triggers \
		$(call made_of,triggers.sh,tokenize forward-dump topk-keys project-values)
	$(SCRIPTS)triggers.sh "$(MODEL)" "$(TEXT)" "$(OUT)" $(limited)

$(addprefix $(OUT)/,agreement.csv rank.csv confidence.csv top-values.csv) &: $(OUT)/triggers.msgpack \
		$(call made_of,agreement.sh,agreement-stats)
	$(SCRIPTS)agreement.sh "$(MODEL)" "$(OUT)"

$(OUT)/values.msgpack: $(model_files) $(OPTIONS)/model $(BIN)/project-values
	project-values --model "$(MODEL)" --all --tops 1 --output $@

$(addprefix $(OUT)/,composition.csv active.csv) &: $(VALID) $(OUT)/values.msgpack $(OPTIONS)/aggregation \
		$(SCRIPTS)../data/stop-words.txt $(SCRIPTS)prefixes.sh $(call made_of,composition.sh,tokenize forward-dump composition-stats)
	$(SCRIPTS)composition.sh "$(MODEL)" "$(VALID)" "$(OUT)" $(sampled)

$(addprefix $(OUT)/,refinement.csv cases.csv last-layer.csv settled.csv perplexity.csv) &: $(VALID) $(model_files) \
		$(OPTIONS)/model $(OPTIONS)/aggregation $(SCRIPTS)prefixes.sh $(call made_of,refinement.sh,tokenize forward-dump refinement-stats)
	$(SCRIPTS)refinement.sh "$(MODEL)" "$(VALID)" "$(OUT)" $(sampled)

$(OUT)/perturbation.csv: $(OUT)/triggers.msgpack $(OPTIONS)/perturbation \
		$(call made_of,perturbation.sh,perturb-triggers forward-dump perturbation-stats)
	$(SCRIPTS)perturbation.sh "$(MODEL)" "$(OUT)" $(removed)

$(addprefix $(OUT)/,shallow.csv shallow-keys.csv shallow-ngrams.csv) &: $(TEXT) $(OUT)/triggers.msgpack \
		$(call made_of,shallow.sh,tokenize shallow-stats)
	$(SCRIPTS)shallow.sh "$(MODEL)" "$(TEXT)" "$(OUT)" $(limited)

$(OUT)/annotation.html: $(OUT)/triggers.msgpack $(call made_of,annotation.sh,annotation-sheet)
	$(SCRIPTS)annotation.sh "$(MODEL)" "$(OUT)"

$(addprefix $(OUT)/,patterns.csv annotations.csv) &: $(ANNOTATIONS) $(OUT)/triggers.msgpack $(OPTIONS)/annotations \
		$(call made_of,annotation.sh,pattern-stats)
	$(SCRIPTS)annotation.sh "$(MODEL)" "$(OUT)" $(ANNOTATIONS)

# ---- pictures and pages ----

tables := $(addprefix $(OUT)/,agreement.csv rank.csv confidence.csv top-values.csv composition.csv active.csv \
	refinement.csv cases.csv last-layer.csv settled.csv perplexity.csv perturbation.csv shallow.csv \
	shallow-keys.csv) $(if $(ANNOTATIONS),$(OUT)/patterns.csv)

$(OUT)/figures/.complete: $(tables) $(SCRIPTS)../data/published.csv $(SCRIPTS)figures.sh \
		$(wildcard $(SCRIPTS)figures.gp $(SCRIPTS)figures/*)
	$(SCRIPTS)figures.sh "$(OUT)/figures" "$(OUT)"
	@touch $@

$(OUT)/report/index.html: $(OUT)/triggers.msgpack $(tables) $(OUT)/options.csv $(OUT)/figures/.complete \
		$(SCRIPTS)../data/published.csv $(call made_of,report.sh,report-pages)
	$(SCRIPTS)report.sh "$(MODEL)" "$(OUT)"

FORCE:
.PHONY: all triggers agreement composition refinement perturbation shallow annotation figures report FORCE
.DELETE_ON_ERROR:
