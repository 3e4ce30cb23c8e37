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
# make only orders the steps. step.sh runs one when something that it is made of is not what
# it was when its results were made, or when a result is not what it was then: texts, the
# model's files, tools, scripts, options, results of other steps, all by their contents. So
# a run that was interrupted goes on where it was, and times do not matter.
#
# One make at a time works in OUT: alone.sh calls make again, for the same targets, with
# the lock.

GRAPH := $(lastword $(MAKEFILE_LIST))
SCRIPTS := $(patsubst %/,%,$(dir $(GRAPH)))
export MODEL TEXT VALID OUT BIN SCRIPTS
# The clone's path may have spaces or dollars, so BIN is relative to it, and neither is expanded here.
export PATH := $(if $(filter /%,$(BIN)),$(BIN),$(CURDIR)/$(BIN)):$(value PATH)

ifndef ALONE

$(or $(MAKECMDGOALS),all): alone
	@:
alone:
	+@"$$SCRIPTS/alone.sh" "$$OUT" $(MAKE) --no-print-directory -f "$(GRAPH)" $(MAKECMDGOALS) ALONE=1
.PHONY: alone $(or $(MAKECMDGOALS),all)

else

# $(call name_of,FILE): without folders and what is behind the last point; spaces stay.
space := $() $()
stand_in := $(shell printf '\037')
name_of = $(subst $(stand_in),$(space),$(basename $(notdir $(subst $(space),$(stand_in),$(1)))))
export TEXT_NAME := $(call name_of,$(TEXT))
export VALID_NAME := $(call name_of,$(VALID))

limited := --mode $(MODE) --name "$$TEXT_NAME"$(if $(SENTENCES), --limit $(SENTENCES))
sampled := $(if $(filter all,$(PREFIXES)),--all,--prefixes $(PREFIXES)) --mode $(MODE) --name "$$VALID_NAME"
removed := --sample $(KEYS) --top $(REMOVALS)

# $(call step,NAME,SCRIPTS,TOOLS): what runs a step, and the scripts and tools that it is made of
step = "$$SCRIPTS/step.sh" $(1) $(foreach script,$(2),"$$SCRIPTS/$(script)") $(foreach tool,$(3),"$$BIN/$(tool)")
# $(call in_out,FILES)
in_out = $(foreach file,$(1),"$$OUT/$(file)")
published = "$$SCRIPTS/../data/published.csv"

all: triggers agreement composition refinement perturbation shallow annotation figures report

# ---- experiments ----

triggers:
	@$(call step,$@,triggers.sh,tokenize forward-dump topk-keys project-values) "$$MODEL" "$$TEXT" \
		--results triggers.msgpack -- "$$SCRIPTS/triggers.sh" "$$MODEL" "$$TEXT" "$$OUT" $(limited)

agreement: triggers
	@$(call step,$@,agreement.sh,agreement-stats) "$$MODEL" $(call in_out,triggers.msgpack) \
		--results agreement.csv rank.csv confidence.csv top-values.csv -- "$$SCRIPTS/agreement.sh" "$$MODEL" "$$OUT"

values:
	@$(call step,$@,,project-values) "$$MODEL" \
		--results values.msgpack -- project-values --model "$$MODEL" --all --tops 1 --output "$$OUT/values.msgpack"

composition: values
	@$(call step,$@,composition.sh prefixes.sh ../data/stop-words.txt,tokenize forward-dump composition-stats) \
		"$$MODEL" "$$VALID" $(call in_out,values.msgpack) \
		--results composition.csv active.csv -- "$$SCRIPTS/composition.sh" "$$MODEL" "$$VALID" "$$OUT" $(sampled)

refinement:
	@$(call step,$@,refinement.sh prefixes.sh,tokenize forward-dump refinement-stats) "$$MODEL" "$$VALID" \
		--results refinement.csv cases.csv last-layer.csv settled.csv perplexity.csv \
		-- "$$SCRIPTS/refinement.sh" "$$MODEL" "$$VALID" "$$OUT" $(sampled)

perturbation: triggers
	@$(call step,$@,perturbation.sh,perturb-triggers forward-dump perturbation-stats) \
		"$$MODEL" $(call in_out,triggers.msgpack) \
		--results perturbation.csv -- "$$SCRIPTS/perturbation.sh" "$$MODEL" "$$OUT" $(removed)

shallow: triggers
	@$(call step,$@,shallow.sh,tokenize shallow-stats) "$$MODEL" "$$TEXT" $(call in_out,triggers.msgpack) \
		--results shallow.csv shallow-keys.csv shallow-ngrams.csv \
		-- "$$SCRIPTS/shallow.sh" "$$MODEL" "$$TEXT" "$$OUT" $(limited)

annotation: page patterns

page: triggers
	@$(call step,annotation,annotation.sh,annotation-sheet) "$$MODEL" $(call in_out,triggers.msgpack) \
		--results annotation.html -- "$$SCRIPTS/annotation.sh" "$$MODEL" "$$OUT"

patterns: triggers
	@$(if $(ANNOTATIONS),$(call step,$@,annotation.sh,pattern-stats) $(ANNOTATIONS) $(call in_out,triggers.msgpack) \
		--results patterns.csv kappa.csv annotations.csv \
		-- "$$SCRIPTS/annotation.sh" "$$MODEL" "$$OUT" $(ANNOTATIONS),$(call step,$@) --undo)

# ---- pictures and pages ----

tables = agreement.csv rank.csv confidence.csv top-values.csv composition.csv active.csv refinement.csv cases.csv \
	last-layer.csv settled.csv perplexity.csv perturbation.csv shallow.csv shallow-keys.csv
experiments = agreement composition refinement perturbation shallow annotation

figures: $(experiments)
	@$(call step,$@,figures.sh figures.gp figures) $(published) $(call in_out,$(tables)) --maybe $(call in_out,patterns.csv) \
		--results figures -- "$$SCRIPTS/figures.sh" "$$OUT/figures" "$$OUT"

report: figures
	@"$$SCRIPTS/options.sh" "$$OUT"
	@$(call step,$@,report.sh,report-pages) "$$MODEL" $(published) $(call in_out,triggers.msgpack figures options.csv $(tables)) \
		--maybe $(call in_out,patterns.csv annotations.csv) \
		--results report -- "$$SCRIPTS/report.sh" "$$MODEL" "$$OUT"

.PHONY: all triggers agreement values composition refinement perturbation shallow annotation page patterns figures report

endif
