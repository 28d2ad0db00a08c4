// Every page works without this. With it, what is counted stays fresh, and keys lead from page to page.

const base = document.body.dataset.base;
const main = document.getElementById('main');
const live = document.getElementById('live');
const search = document.getElementById('search');

// --- what is counted, as it changes ---

// the policy of the page lets HTML in by this name only; what comes is the server's own, escaped there
const policy = window.trustedTypes?.createPolicy('dormouse', { createHTML: (text) => text });
let counted = 0;

function tick() {
  const age = document.getElementById('age');
  if (!age) return;
  const seconds = Math.max(0, (performance.now() - counted) / 1000);
  const words = seconds < 1 ? 'just now' : `${Math.round(seconds)} s ago`;
  age.lastElementChild.textContent = words;
  age.classList.toggle('stale', seconds > 8);
}

function show(html) {
  const selection = getSelection();
  // nothing moves under somebody's hands
  if (selection && !selection.isCollapsed && live.contains(selection.anchorNode)) return;
  const open = [...live.querySelectorAll('details')].map((details) => details.open);
  const reachable = 'a, button, input, select, summary, [tabindex]';
  const focused = [...live.querySelectorAll(reachable)].indexOf(document.activeElement);
  live.innerHTML = policy ? policy.createHTML(html) : html;
  live.querySelectorAll('details').forEach((details, at) => { details.open = open[at] ?? details.open; });
  if (focused >= 0) live.querySelectorAll(reachable)[focused]?.focus({ preventScroll: true });
}

if (main?.dataset.live) {
  counted = performance.now() - Number(document.getElementById('age')?.dataset.age ?? 0);
  setInterval(tick, 1000);
  tick();
  let source = null;
  const watch = () => {
    source?.close();
    source = null;
    if (document.hidden) return;
    source = new EventSource(main.dataset.live);
    source.addEventListener('shown', (event) => {
      counted = performance.now() - Number(event.lastEventId || 0);
      show(event.data);
      tick();
    });
    // a broker that is down is a page that heals itself; somebody who is logged out logs in
    for (const name of ['trouble', 'over']) source.addEventListener(name, () => location.reload());
  };
  document.addEventListener('visibilitychange', watch);
  watch();
}

// --- keys ---

let waits = 0;
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inField = event.target.closest('input, textarea, select');
  if (inField) {
    if (event.key === 'Escape' && inField === search) search.blur();
    return;
  }
  if (event.key === '/' && search) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === '?') {
    location.assign(`${base}/help`);
  } else if (event.key === 'g') {
    waits = performance.now();
  } else if (performance.now() - waits < 1500) {
    waits = 0;
    document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`)?.click();
  }
});

// --- the reader's own zone, beside UTC ---

document.addEventListener('mouseover', (event) => {
  const time = event.target.closest?.('time[datetime]');
  if (!time || time.dataset.local) return;
  time.dataset.local = 'yes';
  const at = new Date(time.dateTime);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!isNaN(at)) time.title += `\n${at.toLocaleString()} ${zone}`;
});

// --- all on a list at once ---

const corner = document.querySelector('th.check');
if (corner) {
  const all = document.createElement('input');
  all.type = 'checkbox';
  all.ariaLabel = 'Choose all that are shown';
  corner.append(all);
  const boxes = () => document.querySelectorAll('td.check input');
  all.addEventListener('change', () => boxes().forEach((box) => { box.checked = all.checked; }));
}
