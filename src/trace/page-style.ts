/** Of the page of a trace. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #fff; --text: #1b1f24; --quiet: #59636e; --line: #d5dae0; --soft: #f5f7f9; --same: #e7f0fb;
  --fail: #c0202b; --accent: #8a3ffc; --sent: #2368c4; --reply: #14866d; --call: #b9c4d0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181d; --text: #e4e8ec; --quiet: #9aa5b1; --line: #323a43; --soft: #1c2229; --same: #1f2d3f;
    --fail: #ff7b72; --accent: #c39bff; --sent: #5b9df0; --reply: #3fb99b; --call: #47525e;
  }
}
* { box-sizing: border-box; }
body { margin: 0; height: 100vh; display: flex; flex-direction: column; background: var(--ground); color: var(--text); font: 14px/1.45 system-ui, sans-serif; }
header { padding: .75rem 1rem .5rem; }
h1 { font-size: 1.1rem; margin: 0; }
p { margin: .15rem 0; }
.quiet { color: var(--quiet); font-size: .8125rem; }
form { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin-top: .4rem; }
input, button { font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--line); border-radius: 4px; padding: .15rem .5rem; }
#search { width: 15rem; max-width: 100%; } #slower { width: 6rem; }
.zoom button { min-width: 2rem; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
#timeline { width: calc(100% - 2rem); height: 150px; margin: 0 1rem; flex: none; background: var(--soft); border-radius: 6px; }
main { flex: 1; min-height: 0; display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 1rem; padding: .5rem 1rem; }
section { display: flex; flex-direction: column; min-width: 0; min-height: 0; }
.lanes-head { display: flex; justify-content: space-between; width: 13.5rem; margin-left: 4.5rem; color: var(--quiet); font-size: .75rem; }
#list { flex: 1; min-height: 8rem; overflow: auto; position: relative; border: 1px solid var(--line); border-radius: 6px; }
#rows { position: relative; overflow: hidden; }
.row { position: absolute; left: 0; right: 0; height: 26px; line-height: 26px; display: flex; white-space: nowrap; cursor: default; }
.row.same { background: var(--same); }
.row[aria-selected="true"] { background: var(--same); box-shadow: inset 3px 0 var(--accent); }
.time { width: 5.5rem; flex: none; text-align: right; padding-right: .75rem; color: var(--quiet); font-variant-numeric: tabular-nums; }
.lanes { width: 12rem; flex: none; position: relative; background: linear-gradient(var(--line), var(--line)) 0 0 / 1px 100% no-repeat, linear-gradient(var(--line), var(--line)) 50% 0 / 1px 100% no-repeat, linear-gradient(var(--line), var(--line)) 100% 0 / 1px 100% no-repeat; }
.lanes::before { content: ''; position: absolute; top: 12px; height: 2px; width: 6rem; left: 0; background: var(--sent); }
.lanes::after { content: ''; position: absolute; top: 9px; border: 4px solid transparent; }
.lanes.lane-1::before { left: 6rem; }
.lanes.right::after { border-left-color: var(--sent); left: calc(6rem - 5px); } .lanes.right.lane-1::after { left: calc(12rem - 5px); }
.lanes.left::before { background: repeating-linear-gradient(90deg, var(--reply) 0 6px, transparent 6px 9px); }
.lanes.left::after { border-right-color: var(--reply); left: -4px; } .lanes.left.lane-1::after { left: calc(6rem - 4px); }
.lanes.at::before { width: 8px; height: 8px; top: 9px; left: -4px; border-radius: 4px; background: var(--quiet); }
.lanes.at.lane-1::before { left: calc(6rem - 4px); }
.lanes.at::after { display: none; }
.failed .lanes::before { background: var(--fail); } .failed .lanes.right::after { border-left-color: var(--fail); } .failed .lanes.left::after { border-right-color: var(--fail); }
.mark { width: 1.5rem; flex: none; text-align: center; color: var(--fail); font-weight: 700; }
.failed .said { color: var(--fail); }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.said { overflow: hidden; text-overflow: ellipsis; padding-right: .5rem; }
pre { margin: 0; overflow: auto; padding: .75rem; border: 1px solid var(--line); border-radius: 6px; background: var(--soft); font-size: .8125rem; white-space: pre-wrap; overflow-wrap: anywhere; }
footer { padding: 0 1rem .5rem; }
@media (max-width: 700px) {
  body { height: auto; min-height: 100vh; }
  main { grid-template-columns: minmax(0, 1fr); }
  #list { height: 50vh; flex: none; } pre { max-height: 50vh; }
  .time { width: 4.5rem; } .lanes-head { margin-left: 3.5rem; width: 7.5rem; font-size: .6875rem; } .lanes-head span:nth-child(2) { display: none; }
  .lanes { width: 6rem; } .lanes::before { width: 3rem; } .lanes.lane-1::before { left: 3rem; }
  .lanes.right::after { left: calc(3rem - 5px); } .lanes.right.lane-1::after { left: calc(6rem - 5px); }
  .lanes.left.lane-1::after { left: calc(3rem - 4px); } .lanes.at.lane-1::before { left: calc(3rem - 4px); }
}
`;
