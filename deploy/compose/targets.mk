# Targets of the Compose stack, for the Makefile at the project's root. They work in the stack's own
# folder, so that its .env (COMPOSE_FILE included) means there what it means by hand.

STACK := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
COMPOSE = cd $(STACK) && docker compose

.PHONY: up-coder
up-coder: ## the stack: launcher and coder3b, the other models stopped
	@$(STACK)/switch.sh coder

.PHONY: up-chat
up-chat: ## the stack: launcher and sitechat
	@$(STACK)/switch.sh chat

.PHONY: up-q7b
up-q7b: ## the stack: launcher and qwen7b-bnb4
	@$(STACK)/switch.sh q7b

.PHONY: logs
logs: ## the stack: follow the launcher's log
	@$(COMPOSE) logs -f launcher

.PHONY: down
down: ## the stack: stop and remove all its containers
	@$(COMPOSE) --profile '*' down

.PHONY: ps
ps: ## the stack: its containers, stopped ones too
	@$(COMPOSE) --profile '*' ps --all
