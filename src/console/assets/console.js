// Every page works without this. With it, what is counted stays fresh, and keys lead from page to page.

const base = document.body.dataset.base;
const main = document.getElementById('main');
const live = document.getElementById('live');
const search = document.getElementById('search');

// --- what is counted, as it changes ---

// the policy of the page lets HTML in by this name only; what comes is the server's own, escaped there
const policy = window.trustedTypes?.createPolicy('dormouse', { createHTML: (text) => text });
let counted = performance.now() - Number(document.getElementById('age')?.dataset.age ?? 0);

function tick() {
  const age = document.getElementById('age');
  if (!age) return;
  const seconds = Math.max(0, (performance.now() - counted) / 1000);
  const words = seconds < 1 ? 'just now' : `${Math.round(seconds)} s ago`;
  if (age.lastElementChild.textContent !== words) age.lastElementChild.textContent = words;
  age.classList.toggle('stale', live.dataset.whole === 'yes' && seconds > 8);
}

// Makes what is in `old` what is in `fresh`, and touches nothing that is the same: the focus stays where it is, what is scrolled
// and open stays so, and nothing is read aloud again. A part with a name is the same as the one of that name before.
const same = (one, other) => one.nodeName === other.nodeName && one.dataset?.part === other.dataset?.part;

function become(old, fresh) {
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    let found = at;
    while (found && !same(found, node)) found = found.nextSibling;
    if (!found && node.dataset?.part) found = [...old.children].find((child) => same(child, node));
    if (!found) {
      old.insertBefore(node, at);
      continue;
    }
    if (found !== at) old.insertBefore(found, at);
    if (found.nodeType === Node.ELEMENT_NODE) {
      dress(found, node);
      become(found, node);
    } else if (found.data !== node.data) {
      found.data = node.data;
    }
    at = found.nextSibling;
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function dress(old, fresh) {
  for (const { name } of [...old.attributes]) if (name !== 'open' && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

function show(place, html) {
  const selection = getSelection();
  // nothing moves under somebody's hands
  if (selection && !selection.isCollapsed && place.contains(selection.anchorNode)) return;
  const fresh = document.createElement('template');
  fresh.innerHTML = policy ? policy.createHTML(html) : html;
  const focused = document.activeElement;
  become(place, fresh.content);
  // what had to be moved has lost it
  if (focused !== document.activeElement && place.contains(focused)) focused.focus({ preventScroll: true });
}

if (main?.dataset.live) {
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
      live.dataset.whole = 'yes';
      show(live, event.data);
      tick();
    });
    source.addEventListener('dead', (event) => show(document.getElementById('dead'), event.data));
    source.addEventListener('end', () => source.close());
    // a broker that is down is a page that heals itself; somebody who is logged out logs in
    for (const name of ['trouble', 'over']) source.addEventListener(name, () => location.reload());
  };
  document.addEventListener('visibilitychange', watch);
  watch();
}

// what a form came to is read first
document.querySelector('main > .notice[role]')?.focus();

// --- keys ---

let waits = 0;
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inField = event.target.closest('input, textarea, select');
  if (event.key === 'Escape') {
    // what was opened last closes, and the focus is where it was opened
    const open = event.target.closest('.menu[open], .actions details[open]') ?? document.querySelector('.menu[open]');
    if (open) {
      open.open = false;
      open.querySelector('summary').focus();
    } else if (inField === search) {
      search.blur();
    }
  }
  if (inField) return;
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
