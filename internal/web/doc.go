// Package web answers one question: what do people and their clients see of us?
//
// Its rooms speak HTTP and hold no decision of their own:
//
//   - page: the look that all pages share: layout, style sheet, security headers
//   - login: the forms of sign-in, enrolment, step-up and the account page
//   - within: how our own pages ask the management API, and what they say that they offered
//   - drills: the page that the link of a drill leads to
//   - home: the page on which people see at a glance what they may do
//   - approvals: the pages on which people ask for a right, and approve
//   - oauth: the authorization server's endpoints for programs
//   - oidc: its pages for people: consent, devices, signing out
//   - api: the words of the management API, shared with its clients
//   - admin: the management API, behind the guard like every door
//   - signals: partners hear of our people, and tell of theirs (SSF, CAEP)
//   - scim: upstream providers keep people and groups (SCIM 2.0)
//   - scim/filter, scim/resource, scim/patch: its filters, records and changes, pure
//   - device: what enrolled devices do over their certificates: renewal, reports of their state
//
// The house holds no code itself.
package web
