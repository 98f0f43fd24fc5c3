#!/bin/sh
# One question, one answer.
curl -sS "${JAN_URL:-http://127.0.0.1:1337/v1}/chat/completions" -d '{
  "messages": [{"role": "user", "content": "What is the capital of France?"}],
  "temperature": 0
}'
