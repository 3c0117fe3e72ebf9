# Targets for the Compose stack, included by the Makefile at the project's root. Commands run in the stack's
# folder, so that its .env (including COMPOSE_FILE) has the same effect as when they are run by hand.

STACK := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
COMPOSE = cd $(STACK) && docker compose

.PHONY: up-coder
up-coder: ## the stack: start the launcher and coder3b, stop the other models
	@$(STACK)/switch.sh coder

.PHONY: up-chat
up-chat: ## the stack: start the launcher and sitechat, stop the other models
	@$(STACK)/switch.sh chat

.PHONY: up-q7b
up-q7b: ## the stack: start the launcher and qwen7b-bnb4, stop the other models
	@$(STACK)/switch.sh q7b

.PHONY: logs
logs: ## the stack: follow the launcher's log
	@$(COMPOSE) logs -f launcher

.PHONY: down
down: ## the stack: stop and remove all its containers
	@$(COMPOSE) --profile '*' down

.PHONY: ps
ps: ## the stack: list its containers, including stopped ones
	@$(COMPOSE) --profile '*' ps --all
