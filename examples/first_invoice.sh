#!/bin/sh
# The first paid invoice: a meter, a plan, a customer, his usage, the bill, the money.
#
#   examples/first_invoice.sh [URL [API-KEY]]
#
# Without arguments it talks to ./dev up, with the key of its demo company. It can be run again:
# every run makes things of its own.
set -eu

url=${1:-http://127.0.0.1:8000}
key=${2:-$(sed -n 's/.*"api_key": "\([^"]*\)".*/\1/p' "${BILLING_DATA_DIR:-.data}/demo.json")}
run=$(date +%s)-$$

# this month and the one before, at the first instant of the first
year=$(date -u +%Y) month=$(date -u +%m)
this=$year-$month-01T00:00:00Z
month=$((${month#0} - 1))
if [ $month -eq 0 ]; then year=$((year - 1)) month=12; fi
last=$(printf '%04d-%02d' "$year" "$month")

# call METHOD PATH [BODY]; the Idempotency-Key makes sure that a repeated request changes nothing
call() {
  if ! answer=$(curl -sS --fail-with-body -X "$1" "$url/api/v1$2" \
    -H "Authorization: Bearer $key" \
    -H "Content-Type: application/json" \
    -H "Idempotency-Key: $run-$(echo "$*" | cksum | tr ' ' -)" \
    ${3:+--data "$3"}); then
    echo "$1 $2: $answer" >&2
    exit 1
  fi
  echo "$answer"
}
# field NAME: the first value of that name in the JSON on the standard input
field() { grep -o "\"$1\": *\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

echo "1. What is measured: calls, added up"
call POST /meters '{
  "key": "calls-'"$run"'", "name": "API calls", "unit": "calls",
  "event_name": "call-'"$run"'", "aggregation": "sum"}' >/dev/null

echo "2. What it costs: 20.00 a month, and 0.01 a call"
call POST /plans '{
  "key": "basic-'"$run"'", "name": "Basic", "currency": "USD", "billing_period": "monthly",
  "charges": [
    {"key": "base", "name": "Base fee", "timing": "arrears",
     "pricing": {"model": "flat", "amount": "20.00"}},
    {"meter": "calls-'"$run"'", "pricing": {"model": "per_unit", "unit_price": "0.01"}}
  ]}' >/dev/null

echo "3. Who is billed"
customer=$(call POST /customers '{
  "external_id": "acme-'"$run"'", "name": "Acme", "email": "accounts@acme.example",
  "currency": "USD", "zone": "UTC"}' | field id)

echo "4. What he has: the plan, since $last-01"
call POST /subscriptions '{
  "customer": "acme-'"$run"'", "plan": "basic-'"$run"'",
  "started_at": "'"$last"'-01T00:00:00Z"}' >/dev/null

echo "5. What he used: 1,250 calls on three days; the third event is sent twice"
call POST /events/batch '{"events": [
  {"idempotency_key": "'"$run"'-1", "event_name": "call-'"$run"'", "customer": "acme-'"$run"'",
   "timestamp": "'"$last"'-03T09:00:00Z", "value": 500},
  {"idempotency_key": "'"$run"'-2", "event_name": "call-'"$run"'", "customer": "acme-'"$run"'",
   "timestamp": "'"$last"'-10T09:00:00Z", "value": 500},
  {"idempotency_key": "'"$run"'-3", "event_name": "call-'"$run"'", "customer": "acme-'"$run"'",
   "timestamp": "'"$last"'-17T09:00:00Z", "value": 250},
  {"idempotency_key": "'"$run"'-3", "event_name": "call-'"$run"'", "customer": "acme-'"$run"'",
   "timestamp": "'"$last"'-17T09:00:00Z", "value": 250}
]}' >/dev/null

echo "6. The bill for everything up to $this"
invoice=$(call POST /invoices '{"customer": "acme-'"$run"'", "cutoff": "'"$this"'"}' |
  grep -o 'inv_[0-9a-z]*' | head -n 1)

echo "7. How he pays: the sandbox's card that always works"
call POST "/customers/$customer/payment-methods" \
  '{"provider": "sandbox", "provider_ref": "sandbox_ok", "default": true}' >/dev/null
call POST "/invoices/$invoice/charge" '{}' >/dev/null

paid=$(call GET "/invoices/$invoice")
echo
echo "Invoice $(echo "$paid" | field number): $(echo "$paid" | field total) USD, $(echo "$paid" | field status)"
echo "$url/api/v1/invoices/$invoice"
